"use strict";
// What `page_in_browser.py` puts into each page before the page's own scripts. `inSight()` and `scrolls()` are of the kind
// of page: the elements of the places in sight, of which those that are not there yet are undefined, and what scrolls.

window.looking = (() => {
  const LONGEST = 30_000; // ms

  const frame = () => new Promise(requestAnimationFrame);
  const pause = (time) => new Promise((done) => setTimeout(done, time));
  const there = (one) => one && [...one.querySelectorAll("img")].every((image) => image.complete && image.naturalWidth > 0);

  function whole() {
    let places = [];
    try { places = looking.inSight(); } catch { /* the page's scripts have not run yet */ }
    return places.length > 0 && places.every(there);
  }

  async function untilWhole(start) {
    while (!whole() && performance.now() - start < LONGEST) await frame();
    return performance.now() - start;
  }

  // Gives a field a value as a person does, and waits.
  async function fill(name, value) {
    const field = document.querySelector(`[name=${name}]`);
    const start = performance.now();
    field.value = value;
    for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
    await frame();
    return untilWhole(start);
  }

  // The first choice of a list that is not "all".
  const choose = (name) => fill(name, document.querySelector(`[name=${name}]`).options[1].value);

  // From the top to the end a screen at a time: of each step whether it was whole two frames later, and ms until it was.
  async function scroll(pace) {
    const box = looking.scrolls();
    const steps = [];
    while (box.scrollTop + box.clientHeight < box.scrollHeight - 1) {
      const start = performance.now();
      box.scrollTop += box.clientHeight;
      await frame();
      await frame();
      const atOnce = whole();
      const taken = await untilWhole(start);
      steps.push([atOnce, taken]);
      await pause(Math.max(0, pace - taken));
    }
    return steps;
  }

  async function jump(count, pace) {
    const box = looking.scrolls();
    const taken = [];
    for (let number = 1; number <= count; number++) {
      const start = performance.now();
      box.scrollTop = ((number * 0.618) % 1) * box.scrollHeight; // near no earlier one
      await frame();
      await frame();
      taken.push(await untilWhole(start));
      await pause(pace);
    }
    return taken;
  }

  untilWhole(0).then((taken) => { looking.firstWhole = taken; });
  return { fill, choose, scroll, jump };
})();
