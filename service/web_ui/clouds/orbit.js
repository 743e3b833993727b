// The camera: rotated and moved by pointer, wheel, fingers and keys.

const TURN = 0.008;
const KEY_TURN = 0.12;
const FIELD = 0.7; // radians from edge to edge of the shorter side
const START = { yaw: -0.75, pitch: 0.42, zoom: 1 };

/** The eye of one canvas; `changed` is called after every move. */
export class Orbit {
  constructor(canvas, { centre, radius }, changed) {
    Object.assign(this, START, { centre, radius, changed, canvas });
    this.pointers = new Map();
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"])
      canvas.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("dblclick", () => this.#set(START));
  }

  /** {toEye, project, ...} for a canvas of that size; `project` gives [x, y, depth], or null behind. */
  view(width, height) {
    const [cy, sy, cp, sp] = [
      Math.cos(this.yaw),
      Math.sin(this.yaw),
      Math.cos(this.pitch),
      Math.sin(this.pitch),
    ];
    const distance = this.radius / Math.sin(FIELD / 2) / this.zoom;
    const focal = Math.min(width, height) / 2 / Math.tan(FIELD / 2);
    const [ox, oy, oz] = this.centre;
    const near = distance * 0.02;
    // Rows of the turn: right, up, and away from the eye.
    const rows = [cy, sy, 0, -sp * sy, sp * cy, cp, -cp * sy, cp * cy, -sp];
    const project = (x, y, z) => {
      const [dx, dy, dz] = [x - ox, y - oy, z - oz];
      const depth = rows[6] * dx + rows[7] * dy + rows[8] * dz + distance;
      if (depth < near) return null;
      const scale = focal / depth;
      return [
        width / 2 + scale * (rows[0] * dx + rows[1] * dy),
        height / 2 - scale * (rows[3] * dx + rows[4] * dy + rows[5] * dz),
        depth,
      ];
    };
    return {
      width,
      height,
      rows,
      centre: this.centre,
      distance,
      focal,
      near,
      radius: this.radius,
      project,
    };
  }

  #set(state) {
    Object.assign(this, state);
    this.pitch = Math.min(Math.max(this.pitch, -1.5), 1.5);
    this.zoom = Math.min(Math.max(this.zoom, 0.3), 12);
    this.changed();
  }

  #down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    if (this.pointers.size === 2) {
      const [other] = [...this.pointers]
        .filter(([id]) => id !== event.pointerId)
        .map(([, place]) => place);
      const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) || 1;
      this.pointers.set(event.pointerId, now);
      this.#set({ zoom: this.zoom * (apart(now) / apart(before)) });
      return;
    }
    this.pointers.set(event.pointerId, now);
    this.#set({
      yaw: this.yaw - (now[0] - before[0]) * TURN,
      pitch: this.pitch + (now[1] - before[1]) * TURN,
    });
  }

  #wheel(event) {
    // The page scrolls on past a cloud that nobody took hold of.
    if (document.activeElement !== this.canvas && !event.ctrlKey) return;
    event.preventDefault();
    this.#set({ zoom: this.zoom * Math.exp(-event.deltaY * 0.0015) });
  }

  #key(event) {
    const moves = {
      ArrowLeft: { yaw: this.yaw + KEY_TURN },
      ArrowRight: { yaw: this.yaw - KEY_TURN },
      ArrowUp: { pitch: this.pitch + KEY_TURN },
      ArrowDown: { pitch: this.pitch - KEY_TURN },
      "+": { zoom: this.zoom * 1.2 },
      "=": { zoom: this.zoom * 1.2 },
      "-": { zoom: this.zoom / 1.2 },
      r: START,
      R: START,
    };
    const move = event.ctrlKey || event.metaKey ? null : moves[event.key];
    if (!move) return;
    event.preventDefault();
    this.#set(move);
  }
}
