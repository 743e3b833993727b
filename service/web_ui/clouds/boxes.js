// The twelve edges of a box, and the colours that boxes and points take by turns.

// Okabe and Ito's colours, as the service's own overlays have them; each with ink that is read on it.
export const PALETTE = [
  ["rgb(230 159 0)", "#000"],
  ["rgb(86 180 233)", "#000"],
  ["rgb(0 158 115)", "#fff"],
  ["rgb(240 228 66)", "#000"],
  ["rgb(213 94 0)", "#fff"],
  ["rgb(204 121 167)", "#000"],
  ["rgb(0 114 178)", "#fff"],
];

/** Label -> {colour, ink}: the same label has the same colour. */
export function colours(labels) {
  const kinds = [...new Set(labels)];
  return new Map(
    kinds.map((label, index) => {
      const [colour, ink] = PALETTE[index % PALETTE.length];
      return [label, { colour, ink }];
    }),
  );
}

/**
 * [[from, to], ...] with z up, of {centre, size, yaw} along the file's axes. `yaw` in radians turns
 * the box about the up axis, counter-clockwise from above.
 */
export function edges({ centre, size, yaw = 0 }, upAxis) {
  const [c, s] =
    upAxis === "y"
      ? [
          [centre[0], -centre[2], centre[1]],
          [size[0], size[2], size[1]],
        ]
      : [centre, size];
  const [cos, sin] = [Math.cos(yaw), Math.sin(yaw)];
  const corner = (bits) => {
    const [x, y, z] = s.map((side, axis) => side * (((bits >> axis) & 1) - 0.5));
    return [c[0] + x * cos - y * sin, c[1] + x * sin + y * cos, c[2] + z];
  };
  const pairs = [];
  for (let bits = 0; bits < 8; bits++) {
    for (let axis = 0; axis < 3; axis++) {
      if (!((bits >> axis) & 1)) pairs.push([corner(bits), corner(bits | (1 << axis))]);
    }
  }
  return pairs;
}
