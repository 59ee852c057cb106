"""Say in words which stages of dvc.lock differ from the committed one, and why that may be."""

from typing import Any

import yaml

from pipeline.versions.dvc_lock import BRING_BACK, LOCK, parse_dvc_lock
from pipeline.versions.git_commands import found_by_git

# Whose floating-point sums depend on the type of CPU.
TRAINING = ("teacher", "pseudo_label", "train", "evaluate", "export")
# Which only use a trained SINet.
PREDICTION = ("evaluate", "export", "second_look")


def changed_stages(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of the stages whose outputs have another hash (or that are new), in the order of `after`."""
    old, new = before.get("stages", {}), after.get("stages", {})
    return [name for name in new if _outputs(old.get(name)) != _outputs(new[name])]


def first_to_differ(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Those of the changed stages that read nothing of another changed one: the others differ because of them."""
    changed = changed_stages(before, after)
    made_by = {path: name for name in changed for path in _outputs(after["stages"][name])}
    return [name for name in changed if not (set(_inputs(after["stages"][name])) & made_by.keys())]


def explain(before: dict[str, Any], after: dict[str, Any], params_changed: bool) -> str:
    """One sentence or two for the end of `make repro`."""
    changed = changed_stages(before, after)
    if before == after:
        return "dvc.lock is as committed: every output has the committed bytes."
    missing = [name for name in before.get("stages", {}) if name not in after.get("stages", {})]
    if missing:
        return (
            f"dvc.lock lacks {', '.join(missing)}, which the committed one has: `dvc repro` runs them, "
            f"{BRING_BACK}."
        )
    if not changed:
        return "dvc.lock differs from the committed one, but every output has the committed bytes."
    if params_changed:
        return f"dvc.lock differs from the committed one because params.yaml does ({', '.join(changed)})."
    first = first_to_differ(before, after)
    text = f"dvc.lock differs from the committed one for {', '.join(changed)}"
    if set(first) <= set(PREDICTION):
        return (
            f"{text}. It begins with {' and '.join(first)}: the weights are the committed ones, but their prediction "
            "rounds in another way where it runs in torch, not in C (docs/predict.md says what that needs), and on "
            f"another type of CPU.{_why_torch()}"
        )
    other = [name for name in first if name not in TRAINING]
    if not other:
        return (
            f"{text}. It begins with {' and '.join(first)}: training sums floating-point numbers in an order that "
            "depends on the CPU. Every stage before has the committed bytes."
        )
    if other == ["report"]:
        return (
            f"{text}. The page names the versions of Python and of packages, and they are not the commit's."
        )
    return (
        f"{text}. It begins with {' and '.join(first)}: the code, the sources, the installed versions or the type of "
        "CPU are not those of the commit."
    )


def _why_torch() -> str:
    from sinet.native import why_torch  # here, since torch takes seconds

    why = why_torch()
    return f" Here {why}." if why else ""


def main() -> None:
    """Compare dvc.lock with HEAD's; says nothing outside a git checkout."""
    committed = found_by_git("show", f"HEAD:./{LOCK}")
    if committed is None or not LOCK.exists():
        return
    after = parse_dvc_lock(LOCK.read_text(encoding="utf-8"))
    params_changed = bool(found_by_git("diff", "--name-only", "HEAD", "--", "params.yaml"))
    print(explain(yaml.safe_load(committed) or {}, after, params_changed))


def _outputs(stage: dict[str, Any] | None) -> dict[str, str]:
    return {out["path"]: out.get("md5", "") for out in (stage or {}).get("outs", [])}


def _inputs(stage: dict[str, Any]) -> list[str]:
    return [dep["path"] for dep in stage.get("deps", [])]
