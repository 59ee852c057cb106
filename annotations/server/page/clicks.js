// Label Studio tells a backend where somebody clicked, and not which mask they see; strokes reach it seconds later.
// So the mask on the screen goes along with each click, and what comes back for another mask is thrown away.
(() => {
  const patience = 10000; // milliseconds
  for (const name of ["autoAnnotation", "autoAcceptSuggestions"]) localStorage.setItem(name, "true");
  const plain = window.fetch;
  const selected = () => window.Htx.annotationStore.selected;
  const onScreen = () => selected().serializeAnnotation().filter((region) => region.type === "brushlabels");
  const refuse = (why) => {
    selected().deleteAllDynamicregions(true); // the point of the click
    window.Htx.showModal(`Nothing was changed: ${why}`, "error");
    return new Response("{}", { status: 200 });
  };
  // While the mask is selected, as after a stroke, a click would only unselect it.
  const begin = (event) => {
    const tool = event.ctrlKey && window.Htx && selected()?.names.get("image")?.getToolsManager().findSelectedTool();
    if (tool && tool.dynamic) selected().unselectAll();
  };
  window.addEventListener("mousedown", begin, true);
  // An answer or a draft that is sent while a click waits would keep its point, and with it the server this interface.
  const withoutPoints = (options) => {
    const content = JSON.parse(options.body);
    if (!Array.isArray(content.result)) return options;
    const result = content.result.filter((one) => one.type !== "keypoint" || one.from_name !== "click");
    return { ...options, body: JSON.stringify({ ...content, result }) };
  };
  window.fetch = async (address, options) => {
    const sends = options && typeof options.body === "string" && /\/(annotations|drafts)\b/.test(address);
    if (sends) return plain(address, withoutPoints(options));
    if (!String(address).includes("/interactive-annotating")) return plain(address, options);
    const request = JSON.parse(options.body);
    if (!request.context.result.length) return new Response("{}", { status: 200 }); // of a submit
    const annotation = selected();
    const before = onScreen();
    request.context.mask = before;
    try {
      const signal = AbortSignal.timeout(patience);
      const answer = await plain(address, { ...options, body: JSON.stringify(request), signal });
      const said = await answer.clone().json();
      if (selected() !== annotation) return new Response("{}", { status: 200 });
      if (said.data && said.data.refused) return refuse(said.data.refused);
      if (!said.data) return refuse("what repairs masks does not answer. Reload the page; `make review` must run.");
      if (JSON.stringify(onScreen()) !== JSON.stringify(before)) return refuse("the mask was changed meanwhile.");
      return answer;
    } catch (error) {
      if (selected() !== annotation) return new Response("{}", { status: 200 });
      return refuse("what repairs masks did not answer in time. Brush and eraser work.");
    }
  };
})();
