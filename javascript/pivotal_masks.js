// The mask painter of the Dataset page. White is learned, black is not. The canvas holds the mask itself, as many pixels as the
// image has; where it is dark, the picture under it is dimmed.
(function () {
    "use strict";

    const MOST_UNDO = 64; // strokes
    const LARGEST_UNDO = 64e6; // pixels that are kept for them
    const ALWAYS = new Set(["close", "back", "next"]);
    const KEYS = {
        b: "paint", e: "erase", i: "invert", m: "only", delete: "clear", enter: "save", escape: "close", arrowleft: "back",
        arrowright: "next",
    };
    let open = null; // the painter that is on the page

    class Painter {
        constructor(buttons, index) {
            this.buttons = buttons;
            this.index = index;
            this.size = 48; // px of the image
            this.value = 255;
            this.isErasing = false;
            this.build();
            this.load();
        }

        build() {
            this.box = document.createElement("div");
            this.box.id = "pivotal_painter";
            this.box.setAttribute("role", "dialog");
            this.box.setAttribute("aria-modal", "true");
            this.box.setAttribute("aria-label", "mask painter");
            this.box.tabIndex = -1;
            this.box.innerHTML = `
                <div class="pivotal-painter-bar">
                    <button type="button" class="pivotal-small-button" data-do="paint" title="B">Brush</button>
                    <button type="button" class="pivotal-small-button" data-do="erase" title="E, or the right mouse button">Eraser</button>
                    <label>Size <input type="range" data-set="size" min="1" max="512" value="48" title="[ and ], or the wheel"></label>
                    <label>Strength <input type="range" data-set="value" min="1" max="255" value="255"></label>
                    <label>View <input type="range" data-set="view" min="0" max="100" value="70"></label>
                    <button type="button" class="pivotal-small-button" data-do="undo" title="Ctrl+Z">Undo</button>
                    <button type="button" class="pivotal-small-button" data-do="redo" title="Ctrl+Y">Redo</button>
                    <button type="button" class="pivotal-small-button" data-do="clear" title="Delete">Clear</button>
                    <button type="button" class="pivotal-small-button" data-do="fill">Fill</button>
                    <button type="button" class="pivotal-small-button" data-do="invert" title="I">Invert</button>
                    <button type="button" class="pivotal-small-button" data-do="only" aria-pressed="false" title="M">Mask only</button>
                    <span class="pivotal-painter-spring"></span>
                    <button type="button" class="pivotal-small-button" data-do="back" title="Left arrow">‹ Previous</button>
                    <button type="button" class="pivotal-small-button" data-do="next" title="Right arrow">Next ›</button>
                    <button type="button" class="pivotal-small-button" data-do="remove">Delete mask</button>
                    <button type="button" class="pivotal-small-button pivotal-first-button" data-do="save" title="Enter">Save</button>
                    <button type="button" class="pivotal-small-button" data-do="close" title="Escape">Close</button>
                </div>
                <div class="pivotal-painter-line"><b></b> <span role="status"></span></div>
                <div class="pivotal-painter-stage"><div class="pivotal-painter-picture"><img alt=""><canvas></canvas>
                    <div class="pivotal-painter-brush"></div></div></div>`;
            this.canvas = this.box.querySelector("canvas");
            this.brush = this.canvas.getContext("2d", { willReadFrequently: true });
            this.ring = this.box.querySelector(".pivotal-painter-brush");
            this.picture = this.box.querySelector(".pivotal-painter-picture");
            this.box.addEventListener("click", (event) => {
                const button = event.target.closest("[data-do]");
                if (button) this.act(button.dataset.do);
            });
            this.box.addEventListener("input", (event) => this.set(event.target.dataset.set, Number(event.target.value)));
            this.box.addEventListener("keydown", (event) => this.key(event));
            this.canvas.addEventListener("pointerdown", (event) => this.begin(event));
            this.canvas.addEventListener("pointermove", (event) => this.move(event));
            for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, () => this.end());
            this.canvas.addEventListener("pointerleave", () => { this.ring.hidden = true; });
            this.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
            this.canvas.addEventListener("wheel", (event) => {
                event.preventDefault();
                this.set("size", this.size * (event.deltaY < 0 ? 1.15 : 1 / 1.15));
            }, { passive: false });
            this.resized = () => this.fit();
            window.addEventListener("resize", this.resized);
            document.body.appendChild(this.box);
            this.set("view", 70);
            this.brushes();
            this.box.focus();
        }

        async load() {
            this.facts = JSON.parse(this.buttons[this.index].dataset.pivotalPaint);
            this.undone = [];
            this.done = [];
            this.isChanged = false;
            this.isReady = false;
            this.stroke = null;
            const { name, width, height, image, mask } = this.facts;
            this.box.querySelector("b").textContent = `${name} (${this.index + 1} of ${this.buttons.length})`;
            this.say("");
            this.canvas.width = width;
            this.canvas.height = height;
            this.paintAll("#000");
            this.box.querySelector("img").src = image;
            this.fit();
            this.box.dataset.ready = "";
            if (mask) {
                const old = new Image();
                old.src = mask;
                try {
                    await old.decode();
                    if (this.facts.name === name) this.brush.drawImage(old, 0, 0, width, height);
                } catch (error) {
                    if (this.facts.name === name) this.say("The old mask cannot be read; a new one begins black.");
                }
            }
            if (this.facts.name !== name) return; // another image is shown meanwhile
            this.isReady = true;
            this.box.dataset.ready = name;
        }

        // What a button or a key does. Until the old mask is there, nothing that would paint over it or save in its place.
        act(name) {
            if (this.isReady || ALWAYS.has(name)) this[name]();
        }

        // The largest size at which the whole picture is seen.
        fit() {
            const stage = this.box.querySelector(".pivotal-painter-stage");
            const scale = Math.min(stage.clientWidth / this.canvas.width, stage.clientHeight / this.canvas.height);
            this.picture.style.width = `${Math.max(1, this.canvas.width * scale)}px`;
            this.picture.style.height = `${Math.max(1, this.canvas.height * scale)}px`;
        }

        say(text) {
            this.box.querySelector("[role=status]").textContent = text;
        }

        set(name, value) {
            if (name === "view") this.canvas.style.opacity = value / 100;
            if (name === "size") this.size = Math.min(512, Math.max(1, value));
            if (name === "value") this.value = value;
            if (name === "size") this.box.querySelector("[data-set=size]").value = this.size;
        }

        brushes() {
            this.box.querySelector("[data-do=paint]").setAttribute("aria-pressed", !this.isErasing);
            this.box.querySelector("[data-do=erase]").setAttribute("aria-pressed", this.isErasing);
        }

        brushTool(isErasing) {
            this.isErasing = isErasing;
            this.brushes();
        }

        paint() { this.brushTool(false); }

        erase() { this.brushTool(true); }

        only() {
            const isOnly = this.picture.classList.toggle("pivotal-mask-only");
            this.box.querySelector("[data-do=only]").setAttribute("aria-pressed", isOnly);
        }

        place(event) {
            const seen = this.canvas.getBoundingClientRect();
            return [(event.clientX - seen.left) * this.canvas.width / seen.width,
                (event.clientY - seen.top) * this.canvas.height / seen.height];
        }

        begin(event) {
            if (!this.isReady || (event.button !== 0 && event.button !== 2)) return;
            this.canvas.setPointerCapture(event.pointerId);
            const isErasing = this.isErasing || event.button === 2;
            const grey = isErasing ? 0 : this.value;
            // The whole mask as it was: cut to what was touched when the stroke ends.
            this.stroke = {
                before: this.brush.getImageData(0, 0, this.canvas.width, this.canvas.height), colour: `rgb(${grey},${grey},${grey})`,
                last: this.place(event), box: [Infinity, Infinity, -Infinity, -Infinity],
            };
            this.line(this.stroke.last);
        }

        move(event) {
            const seen = this.canvas.getBoundingClientRect();
            const side = this.size * seen.width / this.canvas.width;
            Object.assign(this.ring.style, {
                width: `${side}px`, height: `${side}px`, left: `${event.clientX - seen.left - side / 2}px`,
                top: `${event.clientY - seen.top - side / 2}px`,
            });
            this.ring.hidden = false;
            if (this.stroke) (event.getCoalescedEvents ? [...event.getCoalescedEvents(), event] : [event]).forEach((one) => this.line(this.place(one)));
        }

        line(to) {
            const { last, colour, box } = this.stroke;
            Object.assign(this.brush, { lineCap: "round", lineJoin: "round", lineWidth: this.size, strokeStyle: colour });
            this.brush.beginPath();
            this.brush.moveTo(...last);
            this.brush.lineTo(to[0] + 0.01, to[1]); // a line of no length is not drawn, not even its round ends
            this.brush.stroke();
            const reach = this.size / 2 + 1;
            for (const [x, y] of [last, to]) {
                box[0] = Math.min(box[0], x - reach);
                box[1] = Math.min(box[1], y - reach);
                box[2] = Math.max(box[2], x + reach);
                box[3] = Math.max(box[3], y + reach);
            }
            this.stroke.last = to;
        }

        end() {
            if (!this.stroke) return;
            const { before, box } = this.stroke;
            this.stroke = null;
            const left = Math.max(0, Math.floor(box[0]));
            const top = Math.max(0, Math.floor(box[1]));
            const width = Math.min(this.canvas.width, Math.ceil(box[2])) - left;
            const height = Math.min(this.canvas.height, Math.ceil(box[3])) - top;
            if (width <= 0 || height <= 0) return;
            const whole = document.createElement("canvas");
            whole.width = before.width;
            whole.height = before.height;
            const copy = whole.getContext("2d");
            copy.putImageData(before, 0, 0);
            this.remember(left, top, copy.getImageData(left, top, width, height));
        }

        // What was in a rectangle before it was painted over.
        remember(left, top, pixels) {
            this.done.push({ left, top, pixels });
            this.undone = [];
            this.isChanged = true;
            let kept = this.done.reduce((sum, one) => sum + one.pixels.width * one.pixels.height, 0);
            while (this.done.length > 1 && (this.done.length > MOST_UNDO || kept > LARGEST_UNDO)) {
                const gone = this.done.shift();
                kept -= gone.pixels.width * gone.pixels.height;
            }
        }

        step(from, to) {
            const last = from.pop();
            if (!last) return;
            const { left, top, pixels } = last;
            to.push({ left, top, pixels: this.brush.getImageData(left, top, pixels.width, pixels.height) });
            this.brush.putImageData(pixels, left, top);
            this.isChanged = true;
        }

        undo() { this.step(this.done, this.undone); }

        redo() { this.step(this.undone, this.done); }

        paintAll(colour) {
            this.brush.fillStyle = colour;
            this.brush.fillRect(0, 0, this.canvas.width, this.canvas.height);
        }

        rememberAll() {
            this.remember(0, 0, this.brush.getImageData(0, 0, this.canvas.width, this.canvas.height));
        }

        clear() {
            this.rememberAll();
            this.paintAll("#000");
        }

        fill() {
            this.rememberAll();
            this.paintAll("#fff");
        }

        invert() {
            this.rememberAll();
            this.brush.globalCompositeOperation = "difference";
            this.paintAll("#fff");
            this.brush.globalCompositeOperation = "source-over";
        }

        key(event) {
            const key = event.key.toLowerCase();
            const isTyping = event.target.matches("input");
            const done = () => { event.preventDefault(); event.stopPropagation(); };
            if (event.ctrlKey || event.metaKey) {
                const name = { z: event.shiftKey ? "redo" : "undo", y: "redo", s: "save" }[key];
                if (name) { done(); this.act(name); }
                return;
            }
            if (key === "tab") { this.keepFocus(event); return; }
            if (isTyping && key.startsWith("arrow")) return;
            if (key === "enter" && event.target.matches("button")) return;
            if (key === "[" || key === "]") { done(); this.set("size", key === "]" ? this.size * 1.15 : this.size / 1.15); }
            if (KEYS[key]) { done(); this.act(KEYS[key]); }
        }

        // The page behind is not reached while the painter is open.
        keepFocus(event) {
            const all = [...this.box.querySelectorAll("button, input")];
            const edge = event.shiftKey ? all[0] : all[all.length - 1];
            if (document.activeElement === edge || document.activeElement === this.box) {
                event.preventDefault();
                (event.shiftKey ? all[all.length - 1] : all[0]).focus();
            }
        }

        async save() {
            const { folder, name } = this.facts;
            const png = this.canvas.toDataURL("image/png").split(",")[1];
            this.say("Saving …");
            const answer = await window.pivotalDataset.post("mask", { folder, name, png });
            if (this.facts.name !== name) return answer.ok;
            this.say(answer.text);
            this.wrote(answer);
            return answer.ok;
        }

        async remove() {
            const { folder, name } = this.facts;
            const answer = await window.pivotalDataset.post("mask/delete", { folder, name });
            this.say(answer.text);
            this.wrote(answer);
            if (answer.ok) this.paintAll("#000");
        }

        wrote(answer) {
            if (!answer.ok) return;
            this.isChanged = false;
            this.facts.mask = answer.mask || "";
            this.buttons[this.index].dataset.pivotalPaint = JSON.stringify(this.facts);
            document.dispatchEvent(new Event("pivotal-poll"));
        }

        async turn(by) {
            const to = this.index + by;
            if (to < 0 || to >= this.buttons.length) return this.say(by < 0 ? "This is the first image." : "This is the last image.");
            if (this.isChanged && !(await this.save())) return undefined;
            this.index = to;
            return this.load();
        }

        back() { return this.turn(-1); }

        next() { return this.turn(1); }

        close() {
            if (this.isChanged && !window.confirm("Close without saving the mask?")) return;
            window.removeEventListener("resize", this.resized);
            this.box.remove();
            open = null;
            const buttons = Array.from(document.querySelectorAll("[data-pivotal-paint]"));
            window.pivotalFocus.land(buttons.find((one) => JSON.parse(one.dataset.pivotalPaint).name === this.facts.name));
        }
    }

    document.addEventListener("click", (event) => {
        const button = event.target.closest && event.target.closest("[data-pivotal-paint]");
        if (!button || open) return;
        const buttons = [...document.querySelectorAll("[data-pivotal-paint]")];
        open = new Painter(buttons.map((one) => ({ dataset: { pivotalPaint: one.dataset.pivotalPaint } })), buttons.indexOf(button));
    });
})();
