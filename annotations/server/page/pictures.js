// A mask's outline view and its cut-out, of the same pixels as annotations/tasks/task.py draws: a test compares them.
const reviewPictures = (() => {
  const lines = [[255, 255, 255], [230, 0, 126]]; // outer and inner
  const grounds = [[0, 177, 64], [230, 0, 200], [255, 255, 255]];
  const packed = (colour) => new Uint32Array(Uint8Array.of(...colour, 255).buffer)[0]; // a pixel in one number
  const near = 90; // distance in RGB below which a person's pixel could be taken for the ground

  // Of a brush region the alpha, one value a pixel; annotations/masks/brush.py tells the format.
  const alphas = (rle, pixels) => {
    let place = 0;
    const take = (bits) => {
      let number = 0;
      for (const end = place + bits; place < end; place++) number = number * 2 + ((rle[place >> 3] >> (7 - (place & 7))) & 1);
      return number;
    };
    const count = take(32);
    if (count !== 4 * pixels) throw new Error(`expected a region of ${4 * pixels} values, found ${count}`);
    const word = take(5) + 1;
    const sizes = [0, 0, 0, 0].map(() => take(4) + 1);
    const found = new Uint8Array(pixels);
    for (let at = 0; at < count; ) {
      if (place >= 8 * rle.length) throw new Error(`the region ends after ${at} of ${count} values`);
      const repeats = take(1);
      const end = at + take(sizes[take(2)]) + 1;
      if (repeats) {
        found.fill(take(word), at >> 2, end >> 2); // the alpha of pixel n is value 4n + 3
        at = end;
      } else for (; at < end; at++) {
        const value = take(word);
        if ((at & 3) === 3) found[at >> 2] = value;
      }
    }
    return found;
  };

  // All regions together, 1 where a person is: strokes have soft edges, of which the inner half counts.
  const mask = (regions, width, height) => {
    const union = new Uint8Array(width * height);
    for (const one of regions) {
      if (one.original_width !== width || one.original_height !== height || one.image_rotation)
        throw new Error("the region is of another size, or turned");
      alphas(one.value.rle, union.length).forEach((alpha, pixel) => alpha > 127 && (union[pixel] = 1));
    }
    return union;
  };

  // What annotations.masks.brush.fingerprint gives: a task names that of the mask its pictures were drawn of.
  const fingerprint = async (mask, width, height) => {
    const shape = new TextEncoder().encode(`(${height}, ${width})`);
    const bytes = new Uint8Array(shape.length + Math.ceil(mask.length / 8));
    bytes.set(shape);
    mask.forEach((person, pixel) => (bytes[shape.length + (pixel >> 3)] |= person << (7 - (pixel & 7))));
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return [...digest.slice(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  };

  // Python's round: a half goes to the even neighbour.
  const rounded = (number) => (number % 1 === 0.5 ? 2 * Math.round(number / 2) : Math.round(number));

  // Colour what the mask, grown by that many pixels, has more: only a disc around a pixel of its rim brings any.
  const grow = ({ width, height, data }, mask, pixels, colour) => {
    const [painted, paint] = [new Uint32Array(data.buffer), packed(colour)];
    const reach = Array.from({ length: 2 * pixels + 1 }, (_, row) => Math.round(Math.sqrt(pixels ** 2 - (row - pixels) ** 2)));
    for (let y = 0, pixel = 0; y < height; y++) for (let x = 0; x < width; x++, pixel++) {
      if (!mask[pixel]) continue;
      const inside = (!x || mask[pixel - 1]) && (x === width - 1 || mask[pixel + 1]) &&
        (!y || mask[pixel - width]) && (y === height - 1 || mask[pixel + width]);
      if (inside) continue;
      for (let v = Math.max(0, y - pixels); v <= Math.min(height - 1, y + pixels); v++) {
        const wide = reach[v - y + pixels];
        for (let u = Math.max(0, x - wide); u <= Math.min(width - 1, x + wide); u++)
          if (!mask[v * width + u]) painted[v * width + u] = paint;
      }
    }
  };

  const copied = (image) => new ImageData(new Uint8ClampedArray(image.data), image.width, image.height);

  const outline = (image, mask) => {
    const drawn = copied(image);
    const thin = Math.max(1, rounded(Math.max(image.width, image.height) / 500));
    grow(drawn, mask, 3 * thin, lines[0]);
    grow(drawn, mask, 2 * thin, lines[1]);
    return drawn;
  };

  // Green, or the ground that a person wears least where they wear green: every seventh pixel tells.
  const ground = ({ data }, mask) => {
    const alike = [0, 0, 0];
    let person = 0, sampled = 0;
    mask.forEach((one, pixel) => {
      if (!one || person++ % 7) return;
      sampled++;
      grounds.forEach((colour, number) => {
        const distance = colour.reduce((sum, value, part) => sum + (data[4 * pixel + part] - value) ** 2, 0);
        if (distance < near ** 2) alike[number]++;
      });
    });
    return grounds[!sampled || alike[0] / sampled < 0.02 ? 0 : alike.indexOf(Math.min(...alike))];
  };

  const cutout = (image, mask) => {
    const drawn = copied(image);
    const [painted, paint] = [new Uint32Array(drawn.data.buffer), packed(ground(image, mask))];
    for (let pixel = 0; pixel < mask.length; pixel++) if (!mask[pixel]) painted[pixel] = paint;
    return drawn;
  };

  // The bytes of a BMP file, which are the pixels as they are: a PNG takes several times as long as all else here.
  const file = ({ width, height, data }) => {
    const head = new DataView(new ArrayBuffer(54));
    const set = (place, value) => head.setInt32(place, value, true);
    head.setUint16(0, 0x424d); // BM
    set(2, 54 + data.length);
    set(10, 54);
    set(14, 40);
    set(18, width);
    set(22, -height); // the first row first
    set(26, 1 | (32 << 16)); // one plane, 32 bits a pixel
    const body = new Uint8Array(data.length);
    for (let at = 0; at < data.length; at += 4) {
      body[at] = data[at + 2];
      body[at + 1] = data[at + 1];
      body[at + 2] = data[at];
      body[at + 3] = 255;
    }
    return new Blob([head, body], { type: "image/bmp" });
  };

  return { mask, fingerprint, outline, cutout, file };
})();
