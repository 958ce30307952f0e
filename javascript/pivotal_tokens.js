// Shows under every text that is tokenized how many tokens it has, and on a click which pieces: "12/75".
//
// Marks it looks for, on a container or on the text's own element:
//   .pivotal-tokens           holds a textarea or a text input
//   .pivotal-tokens-caption   its text is a caption, taken literally, not a prompt
//   .pivotal-tokens-lines     each line is a text of its own; the one with the caret is counted
//   data-limit-from           selector of the input with the wanted number of tokens, empty for as many as there are
//   data-filled-by            selector of the input that says what fills a short text; without it, that is *
//   data-pivotal-vectors      anywhere in the page: JSON {name: vectors}, embeddings that the host does not know yet
(function () {
    "use strict";

    const ADDRESS = "pivotal/v1/tokens"; // relative to the page, which may be under a host's own path
    const DEBOUNCE_MS = 200;
    const RETRY_MS = 5000;
    const CHUNK = 75;
    const HUES = 4;
    const TEXT = "textarea, input[type=text], input:not([type])";
    const counters = new Map(); // text element -> its counter

    function make(tag, name, text, title) {
        const element = document.createElement(tag);
        element.className = "pivotal-tokens-" + name;
        if (text !== undefined) element.textContent = text;
        if (title) element.title = title;
        return element;
    }

    function newVectors() {
        const known = {};
        for (const holder of document.querySelectorAll("[data-pivotal-vectors]")) {
            try {
                Object.assign(known, JSON.parse(holder.getAttribute("data-pivotal-vectors")));
            } catch (error) {
                // half-typed by whoever writes it; the next tick reads it again
            }
        }
        return known;
    }

    class Counter {
        constructor(input, container) {
            this.input = input;
            this.container = container;
            this.asked = null; // the request's body that is answered, under way or failed
            this.retryAt = Infinity;
            this.request = null;
            this.answer = null;
            this.button = make("button", "line", "");
            this.button.type = "button";
            this.details = make("div", "details");
            this.panel = make("div", "panel");
            this.panel.append(this.button, this.details);
            this.open(false);
            this.panel.addEventListener("click", (event) => event.preventDefault()); // else a label moves the focus
            this.button.addEventListener("click", () => this.open(this.details.hidden));
            this.place();
            input.addEventListener("input", () => this.later());
        }

        // gradio's own elements are left in their order; in a label of ours there is help behind the input.
        place() {
            const isOurs = this.container.tagName === "LABEL" || this.container === this.input;
            if (isOurs) this.input.insertAdjacentElement("afterend", this.panel);
            else this.container.append(this.panel);
        }

        open(isOpen) {
            this.details.hidden = !isOpen;
            this.button.setAttribute("aria-expanded", String(isOpen));
            if (isOpen) this.drawDetails();
        }

        has(mark) {
            return this.container.classList.contains(mark) || this.input.classList.contains(mark);
        }

        // What another field of the form holds; null when this text depends on none.
        other(attribute) {
            const selector = this.input.getAttribute(attribute) || this.container.getAttribute(attribute);
            const field = selector ? document.querySelector(selector) : null;
            return field ? field.value.trim() : null;
        }

        wanted() {
            const number = Number(this.other("data-limit-from") || NaN);
            return Number.isInteger(number) && number > 0 ? number : null;
        }

        text() {
            const whole = this.input.value;
            if (!this.has("pivotal-tokens-lines")) return whole;
            const start = whole.slice(0, this.input.selectionStart || 0).lastIndexOf("\n") + 1;
            const line = whole.slice(start).split("\n", 1)[0];
            return this.has("pivotal-tokens-caption") ? line : line.split(/(?:^|\s)--(?=\w)/, 1)[0]; // without flags of samples
        }

        later() {
            clearTimeout(this.timer);
            this.timer = setTimeout(() => this.ask(), DEBOUNCE_MS);
        }

        tick(vectors) {
            if (this.input.offsetParent === null) return; // in a tab that is not shown
            if (!this.panel.isConnected) this.place(); // gradio has drawn anew around us
            if (Date.now() > this.retryAt) this.asked = null;
            if (this.body(vectors) !== this.asked && !this.timer) this.later();
            else if (this.answer && this.wish !== this.wishNow()) this.draw();
        }

        body(vectors = newVectors()) {
            const kind = this.has("pivotal-tokens-caption") ? "caption" : "prompt";
            return JSON.stringify({ text: this.text(), kind: kind, embeddings: vectors });
        }

        async ask() {
            this.timer = null;
            const body = this.body();
            if (body === this.asked) return;
            if (this.request) this.request.abort();
            const request = new AbortController();
            this.request = request;
            this.asked = body;
            this.retryAt = Infinity;
            const letters = Array.from(this.text()); // the server counts whole letters, not UTF-16 halves
            try {
                const reply = await fetch(ADDRESS, {
                    method: "POST", headers: { "Content-Type": "application/json" }, body: body, signal: request.signal,
                });
                if (!reply.ok) throw new Error(`${reply.status} ${reply.statusText}`);
                const answer = await reply.json();
                if (request !== this.request) return;
                this.answer = answer;
                this.letters = letters;
                this.draw();
            } catch (error) {
                if (request !== this.request) return; // a newer text is being counted
                this.answer = null;
                this.retryAt = Date.now() + RETRY_MS;
                this.button.textContent = "?";
                this.button.title = `Not counted: ${error.message}`;
                this.details.replaceChildren();
            }
        }

        // The encoders, or the one that stands for all when they agree.
        encoders() {
            const all = Object.entries(this.answer.encoders);
            const first = JSON.stringify(all[0][1]);
            return all.every(([, encoder]) => JSON.stringify(encoder) === first) ? [["", all[0][1]]] : all;
        }

        wishNow() {
            return `${this.wanted()} ${this.other("data-filled-by")}`;
        }

        remark(count) {
            const wanted = this.wanted();
            if (wanted === null || wanted === count) return "";
            if (count > wanted) return ` will be cut to ${wanted}`;
            const missing = wanted - count;
            return ` ${missing} more vector${missing === 1 ? "" : "s"} (${this.other("data-filled-by") || "*"})`;
        }

        draw() {
            this.wish = this.wishNow();
            const counts = this.encoders().map(([name, encoder]) => `${name} ${encoder.count}/${encoder.limit}`.trim());
            const remark = this.remark(this.answer.count);
            this.button.textContent = counts.join(" · ") + (remark ? ` –${remark}` : "");
            this.button.title = "Tokens; click for the pieces";
            this.button.classList.toggle("pivotal-tokens-differs", remark !== "");
            if (!this.details.hidden) this.drawDetails();
        }

        drawDetails() {
            if (!this.answer) return;
            const wanted = this.wanted();
            const parts = [];
            for (const [name, encoder] of this.encoders()) {
                if (name) parts.push(make("div", "encoder", name));
                let place = 0;
                encoder.chunks.forEach((chunk, index) => {
                    const row = make("div", "chunk");
                    const from = index * CHUNK;
                    if (encoder.chunks.length > 1) row.append(make("span", "border", `${from + 1}–${from + CHUNK}`));
                    const end = this.drawChunk(row, chunk, place, wanted);
                    const isLast = index === encoder.chunks.length - 1;
                    const missing = wanted === null ? CHUNK - (end - place) : isLast ? wanted - end : 0;
                    if (missing > 0) row.append(make("span", "padding", `+${missing}`, `${missing} of padding`));
                    place = end;
                    parts.push(row);
                });
            }
            this.details.replaceChildren(...parts);
        }

        // Adds the pieces of `chunk` to `row`, the first being token number `place`; the number behind the last.
        drawChunk(row, chunk, place, wanted) {
            chunk.pieces.forEach((piece, number) => {
                const element = this.drawPiece(piece, chunk.pieces[number - 1], number);
                if (wanted !== null && place >= wanted) element.classList.add("pivotal-tokens-cut");
                row.append(element);
                place += piece.vectors;
            });
            return place;
        }

        drawPiece(piece, before, number) {
            const known = piece.start !== null;
            const source = known ? this.letters.slice(piece.start, piece.end).join("") : piece.text;
            const continued = known && before && before.start === piece.start && before.end === piece.end;
            if (piece.embedding !== null) {
                const title = `embedding ${piece.embedding}: ${piece.vectors} vectors`;
                const element = make("span", "piece", source, title);
                element.classList.add("pivotal-tokens-embedding");
                element.append(make("sup", "vectors", `×${piece.vectors}`));
                return element;
            }
            // A letter of several pieces, as an emoji, is written once and then continued.
            const element = make("span", "piece", continued ? "…" : source, `${piece.id} "${piece.text}" from "${source}"`);
            element.classList.add(`pivotal-tokens-hue${number % HUES}`);
            return element;
        }
    }

    function textOf(container) {
        return container.matches(TEXT) ? container : container.querySelector(TEXT);
    }

    function find() {
        for (const marked of document.querySelectorAll(".pivotal-tokens")) {
            const input = textOf(marked);
            if (!input || counters.has(input)) continue;
            const container = marked === input ? input.closest("label.pivotal-tokens") || input : marked;
            counters.set(input, new Counter(input, container));
        }
    }

    function tick() {
        const vectors = newVectors();
        for (const [input, counter] of counters) {
            if (input.isConnected) counter.tick(vectors);
            else counters.delete(input);
        }
    }

    let finding = null;
    function findSoon() {
        if (finding === null) finding = setTimeout(() => { finding = null; find(); tick(); }, 50);
    }

    function start() {
        new MutationObserver(findSoon).observe(document.body, { childList: true, subtree: true });
        findSoon();
        document.addEventListener("pivotal-tick", tick);
    }

    if (document.body) start();
    else document.addEventListener("DOMContentLoaded", start);
})();
