// The outline view and the cut-out follow the mask on the screen. A task brings both as pictures of the mask that was
// proposed; these stay what is shown as long as that is the mask, and wherever this page is not built as expected.
(() => {
  const pause = 150; // milliseconds between two looks: a change that two looks see has come to rest
  const patience = 20; // looks: so long a page may take to be there
  const places = [".review .look", ".review .cut"];
  const [follows, stale] = ["follows-the-mask", "of-the-proposed-mask"]; // attributes of a picture, and of a place
  let seen = []; // what the last look saw
  let drawn = []; // and that of which `shown` was made
  let shown = null; // addresses of the two pictures; null where those of the task are right
  let lost = false; // whether they are not, and there are no others
  let waited = 0;
  let held = false; // a button of the mouse: asked for its mask, Label Studio paints anew what is being drawn
  for (const kind of ["pointerdown", "pointermove", "pointerup"])
    window.addEventListener(kind, (event) => (held = event.buttons > 0), { capture: true, passive: true });

  // Label Studio paints a picture on a canvas, and keeps its <img>, clipped away, where that stands and as large: also
  // when it is zoomed. So what is drawn here is that element's ground, and the element lies above the canvas.
  const style = document.createElement("style");
  style.textContent = `
    .review img[${follows}] { clip: auto !important; z-index: 1; pointer-events: none; object-position: -99999px 0;
      background-size: 100% 100%; }
    .review [${stale}]::before { content: "of the proposed mask: it does not follow your changes"; position: absolute;
      z-index: 4; top: 0; left: 0; right: 0; padding: 4px 8px; background: #ffd54d; color: #000; font-size: 13px; }`;
  document.head.append(style);

  const picture = (place) => {
    const found = document.querySelectorAll(`${place} img[alt=image]`);
    if (found.length !== 1 || !found[0].naturalWidth) throw new Error(`expected one picture in ${place}`);
    return found[0];
  };

  // All that changes with the mask, and is cheap to ask for.
  const state = () => {
    places.forEach(picture);
    const annotation = window.Htx.annotationStore.selected;
    const brushes = annotation.regions.filter((region) => region.type === "brushregion");
    return [annotation, picture(".review .edit"),
      ...brushes.flatMap((region) => [region.id, region.rle, ...region.touches.map((stroke) => stroke.id)])];
  };
  const same = (one, other) => one.length === other.length && one.every((part, number) => part === other[number]);

  const show = () => {
    places.forEach((place, number) => document.querySelectorAll(`${place} img[alt=image]`).forEach((image) => {
      const address = shown ? `url("${shown[number]}")` : "";
      image.toggleAttribute(follows, Boolean(shown));
      if (image.style.backgroundImage !== address) image.style.backgroundImage = address;
    }));
    document.querySelectorAll(places[0]).forEach((view) => view.toggleAttribute(stale, lost));
  };
  const revoke = (addresses) => addresses && addresses.forEach((address) => URL.revokeObjectURL(address));
  const use = (addresses, failed) => {
    revoke(shown);
    shown = addresses;
    lost = failed;
  };

  const address = async (pixels) => {
    const loaded = new Image();
    loaded.src = URL.createObjectURL(reviewPictures.file(pixels));
    await loaded.decode(); // else nothing would be seen for a moment
    return loaded.src;
  };
  const pictures = async ([annotation, image]) => {
    const { width, height, proposed } = window.Htx.task.dataObj;
    if (image.naturalWidth !== width || image.naturalHeight !== height) throw new Error("a picture of another size");
    // A click's answer gets its label a moment after its pixels.
    const regions = annotation.serializeAnnotation().filter((region) => region.value.format === "rle");
    const mask = reviewPictures.mask(regions, width, height);
    if ((await reviewPictures.fingerprint(mask, width, height)) === proposed) return null;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, width, height);
    return Promise.all([reviewPictures.outline, reviewPictures.cutout].map((draw) => address(draw(pixels, mask))));
  };

  const look = async () => {
    if (!document.querySelector(places[0])) return;
    try {
      const now = state();
      const rests = same(now, seen) && !held;
      waited = 0;
      seen = now;
      if (now[0] !== drawn[0]) use(null, false); // another task
      if (rests && !same(now, drawn)) {
        drawn = now;
        const [made, failed] = await pictures(now).then((both) => [both, false], () => [null, true]);
        if (drawn !== now) return revoke(made);
        use(made, failed);
      }
    } catch {
      if (++waited < patience) return;
      drawn = [];
      use(null, true);
    }
    show();
  };
  setInterval(look, pause);
})();
