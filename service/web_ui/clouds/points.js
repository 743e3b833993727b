// Points into pixels: each a small square, the nearest wins, and edges of depth are darkened.
// Darkening: Boucheny, "Visualisation scientifique de grands volumes de données" (2009), eye-dome
// lighting.

const DARKENING = 1.6;
// From low to high where a cloud has no colours of its own; equal steps look equally far apart.
const HEIGHTS = [
  [68, 57, 158],
  [49, 104, 192],
  [33, 145, 170],
  [58, 178, 125],
  [150, 204, 72],
  [246, 214, 60],
];

/** ImageData of the view; where nothing is, it is clear. `low` and `high` are heights. */
export function paintPoints(cloud, low, high, view, ratio) {
  const { width, height } = view;
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const depths = new Float32Array(width * height).fill(Infinity);
  splat(cloud, shades(cloud, low, high), view, side(cloud, view, ratio), pixels, depths);
  darken(pixels, depths, view);
  return image;
}

/** Pixels of a point's side at the centre: fewer points are drawn larger. */
function side(cloud, view, ratio) {
  const area = (view.width * view.height) / (cloud.xyz.length / 3);
  return Math.min(Math.max(Math.sqrt(area) * 0.22, 1.5 * ratio), 4 * ratio);
}

/** A pixel's word for each point: bytes r, g, b, a in memory, on every machine that runs a browser. */
function shades({ xyz, rgb }, low, high) {
  const words = new Uint32Array(xyz.length / 3);
  for (let point = 0, at = 0; point < words.length; point++, at += 3) {
    const [r, g, b] = rgb
      ? [rgb[at], rgb[at + 1], rgb[at + 2]]
      : byHeight((xyz[at + 2] - low) / (high - low || 1));
    words[point] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return words;
}

function byHeight(share) {
  const place = Math.min(Math.max(share, 0), 0.9999) * (HEIGHTS.length - 1);
  const [from, to, part] = [HEIGHTS[Math.floor(place)], HEIGHTS[Math.floor(place) + 1], place % 1];
  return from.map((value, channel) => Math.round(value + (to[channel] - value) * part));
}

function splat({ xyz }, words, view, side, pixels, depths) {
  const {
    width,
    height,
    rows: m,
    centre: [ox, oy, oz],
    distance,
    focal,
    near,
  } = view;
  for (let point = 0, at = 0; point < words.length; point++, at += 3) {
    const dx = xyz[at] - ox,
      dy = xyz[at + 1] - oy,
      dz = xyz[at + 2] - oz;
    const depth = m[6] * dx + m[7] * dy + m[8] * dz + distance;
    if (depth < near) continue;
    const scale = focal / depth;
    const half = Math.max((side * distance) / depth, 1) / 2;
    const x = width / 2 + scale * (m[0] * dx + m[1] * dy);
    const y = height / 2 - scale * (m[3] * dx + m[4] * dy + m[5] * dz);
    const left = Math.max(Math.round(x - half), 0),
      right = Math.min(Math.round(x + half), width);
    const top = Math.max(Math.round(y - half), 0),
      bottom = Math.min(Math.round(y + half), height);
    for (let row = top; row < bottom; row++) {
      for (let pixel = row * width + left; pixel < row * width + right; pixel++) {
        if (depth < depths[pixel]) {
          depths[pixel] = depth;
          pixels[pixel] = words[point];
        }
      }
    }
  }
}

function darken(pixels, depths, { width, height, radius }) {
  const strength = (DARKENING * 14) / radius;
  for (let row = 1; row < height - 1; row++) {
    for (let pixel = row * width + 1; pixel < row * width + width - 1; pixel++) {
      const own = depths[pixel];
      if (own === Infinity) continue;
      let behind = 0;
      for (const next of [pixel - 1, pixel + 1, pixel - width, pixel + width]) {
        // Clear ground counts as a little farther away, which draws an outline.
        behind += Math.max(
          0,
          depths[next] === Infinity ? radius * 0.02 : 0,
          Math.min(own - depths[next], radius * 0.25),
        );
      }
      const light = Math.exp((-behind * strength) / 16);
      const word = pixels[pixel];
      const r = (word & 255) * light,
        g = ((word >> 8) & 255) * light,
        b = ((word >> 16) & 255) * light;
      pixels[pixel] = (255 << 24) | (b << 16) | (g << 8) | r;
    }
  }
}
