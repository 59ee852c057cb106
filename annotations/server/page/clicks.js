// Label Studio tells a backend where somebody clicked, and not which mask they see; strokes reach it seconds later.
// So the mask on the screen goes along with each click, and what comes back for another mask is thrown away.
(() => {
  const patience = 10000; // milliseconds
  for (const name of ["autoAnnotation", "autoAcceptSuggestions"]) localStorage.setItem(name, "true");
  const plain = window.fetch;
  const selected = () => window.Htx.annotationStore.selected;
  const onScreen = () => selected().serializeAnnotation().filter((region) => region.type === "brushlabels");
  const nothing = () => new Response("{}", { status: 200 });
  const refuse = (why) => {
    selected().deleteAllDynamicregions(true); // the point of the click
    window.Htx.showModal(`Nothing was changed: ${why}`, "error");
    return nothing();
  };
  // While the mask is selected, as after a stroke, a click would only unselect it.
  const begin = (event) => {
    const tool = event.ctrlKey && window.Htx && selected()?.names.get("image")?.getToolsManager().findSelectedTool();
    if (tool && tool.dynamic) selected().unselectAll();
  };
  window.addEventListener("mousedown", begin, true);
  window.fetch = async (address, options) => {
    if (!String(address).includes("/interactive-annotating")) return plain(address, options);
    const request = JSON.parse(options.body);
    if (!request.context.result.length) return nothing(); // of a submit
    const annotation = selected();
    const before = onScreen();
    request.context.mask = before;
    let why = "what repairs masks did not answer in time. Brush and eraser work.";
    let answer;
    try {
      const signal = AbortSignal.timeout(patience);
      answer = await plain(address, { ...options, body: JSON.stringify(request), signal });
      const said = await answer.clone().json();
      why = said.data ? said.data.refused : "what repairs masks does not answer; `make review` must run.";
    } catch {} // `why` says it
    if (selected() !== annotation) return nothing(); // another task is on the screen by now
    if (why) return refuse(why);
    if (JSON.stringify(onScreen()) !== JSON.stringify(before)) return refuse("the mask was changed meanwhile.");
    return answer;
  };
})();
