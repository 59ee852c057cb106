"""Say in words which stages of dvc.lock differ from the committed one, and why that may be."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

LOCK = Path("dvc.lock")
# What these compute is decided by floating-point sums whose order depends on the CPU.
TRAINED = ("teacher", "pseudo_label", "queue", "push", "train", "evaluate", "export", "report")


def changed_stages(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of the stages whose outputs have another hash (or that are new), in the order of `after`."""
    old, new = before.get("stages", {}), after.get("stages", {})
    return [name for name in new if _outputs(old.get(name)) != _outputs(new[name])]


def explain(before: dict[str, Any], after: dict[str, Any], params_changed: bool) -> str:
    """One sentence or two for the end of `make repro`."""
    changed = changed_stages(before, after)
    if before == after:
        return "dvc.lock is as committed: every output has the committed bytes."
    if not changed:
        return "dvc.lock differs from the committed one, but every output has the committed bytes."
    if params_changed:
        return f"dvc.lock differs from the committed one because params.yaml does ({', '.join(changed)})."
    data = [name for name in changed if name not in TRAINED]
    if not data:
        return (
            f"dvc.lock differs from the committed one for {', '.join(changed)}: training sums floating-point "
            "numbers in an order that depends on the CPU. Every data stage gave the committed bytes."
        )
    return (
        f"dvc.lock differs from the committed one for {', '.join(changed)}. Of these, {', '.join(data)} are "
        "data stages: their code, their sources, the installed versions or the type of CPU are not those of the commit."
    )


def main() -> None:
    """Compare dvc.lock with HEAD's; says nothing outside a git checkout."""
    committed = _git("show", f"HEAD:./{LOCK}")
    if committed is None or not LOCK.exists():
        return
    params_changed = bool(_git("diff", "--name-only", "HEAD", "--", "params.yaml"))
    print(explain(yaml.safe_load(committed) or {}, yaml.safe_load(LOCK.read_text()) or {}, params_changed))


def _outputs(stage: dict[str, Any] | None) -> dict[str, str]:
    return {out["path"]: out.get("md5", "") for out in (stage or {}).get("outs", [])}


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None
