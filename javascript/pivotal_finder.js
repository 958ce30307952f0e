// Over the form: finds options by a word, marks those that differ from their defaults, asks for them to be set back, and greys
// those that have no effect with what else is chosen, with the reason. javascript/pivotal_live.js knows options and values.
(function () {
    "use strict";

    const MOST = 12;
    let options = [];
    let known = {}; // the form's values, of sections too that are not drawn yet

    function read() {
        options = window.pivotalForm ? window.pivotalForm.options() : [];
        return options.length > 0;
    }

    // ---- values

    function isChanged(option) {
        const raw = window.pivotalForm.valueOf(option, known);
        if (raw === undefined || typeof option.default === "boolean") return raw !== undefined && raw !== option.default;
        const value = raw === null ? "" : String(raw);
        if (value === option.default) return false;
        const [a, b] = [Number(value), Number(option.default)];
        return !(value.trim() && option.default.trim() && a === b);
    }

    // ---- marks

    // gradio 3 folds by a div, later ones by a button.
    function headerOf(section) {
        return section.querySelector(".label-wrap") || section.querySelector("button");
    }

    function sectionOf(option) {
        const box = document.getElementById(`${option.id}_box`);
        if (box) return box.closest("[id^=pivotal_section_]");
        return document.getElementById(`pivotal_section_${option.key.includes(".") ? option.key.split(".")[0] : "general"}`);
    }

    function ask(keys) {
        window.pivotalAsk("pivotal_reset_keys", keys.join(" "), "pivotal_reset");
    }

    function resetButton(title, keys) {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "pivotal-reset";
        button.textContent = "↺";
        button.title = title;
        button.setAttribute("aria-label", title);
        button.addEventListener("click", (event) => {
            event.stopPropagation();
            event.preventDefault();
            ask(keys());
        });
        return button;
    }

    // In a header, which is itself a button or acts as one, there can be no other button.
    function resetLink(section) {
        const link = document.createElement("span");
        link.className = "pivotal-reset";
        link.textContent = "↺";
        link.title = "Back to the defaults: all of this section";
        link.tabIndex = 0;
        link.setAttribute("role", "button");
        link.setAttribute("aria-label", link.title);
        const press = (event) => {
            if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
            event.stopPropagation();
            event.preventDefault();
            ask(section.pivotalChanged);
        };
        link.addEventListener("click", press);
        link.addEventListener("keydown", press);
        return link;
    }

    // The keyboard goes to the field; a list that would unfold over the page waits for a press.
    function enter(box, tries = 5) {
        const field = box.querySelector("textarea, select, input:not([type=range])");
        if (!field && tries) return void setTimeout(() => enter(box, tries - 1), 100); // in a section that was opened just now
        const isList = !field || field.matches("[role=listbox], [role=combobox], .border-none");
        if (isList) box.tabIndex = -1;
        (isList ? box : field).focus({ preventScroll: true });
    }

    function markField(option, changed) {
        const box = document.getElementById(`${option.id}_box`);
        if (box && !box.title) box.title = option.tip;
        if (!box || box.classList.contains("pivotal-changed") === changed) return;
        box.classList.toggle("pivotal-changed", changed);
        const old = box.querySelector(":scope .pivotal-reset");
        if (old && old === document.activeElement) enter(box);
        if (old) old.remove();
        if (!changed) return;
        const text = option.default === "" ? "empty" : String(option.default);
        box.appendChild(resetButton(`Back to the default: ${text}`, () => [option.key]));
    }

    function markSection(section, changed) {
        const header = headerOf(section);
        if (!header) return;
        let badge = header.querySelector(".pivotal-count");
        section.pivotalChanged = changed.map((option) => option.key);
        if (!changed.length) {
            if (header !== document.activeElement && header.contains(document.activeElement)) header.focus({ preventScroll: true });
            header.querySelectorAll(".pivotal-count, .pivotal-reset").forEach((element) => element.remove());
            return;
        }
        if (!badge) {
            badge = document.createElement("span");
            badge.className = "pivotal-count";
            // Beside the title, not after it: gradio spreads what a header holds over its width.
            const title = header.querySelector("span") || header;
            title.append(badge, resetLink(section));
        }
        const text = `${changed.length} changed`;
        if (badge.textContent !== text) badge.textContent = text;
        badge.title = changed.map((option) => option.label).join(", ");
    }

    // ---- what has no effect

    function plain(value) {
        return typeof value === "boolean" ? (value ? "True" : "False") : String(value === null || value === undefined ? "" : value);
    }

    function isOneOf(value, wanted) {
        const text = plain(value).trim();
        return wanted.some((one) => one === text || (text && one && Number(one) === Number(text)));
    }

    // Hidden, as another option is not as it must be.
    function isHidden(option) {
        return Boolean(option.when && option.when[0] in known && !isOneOf(known[option.when[0]], option.when[1]));
    }

    // Why it has no effect with what else is chosen; empty where it has. What is hidden itself makes nothing void.
    function reasonOf(option) {
        const found = (option.void || []).find(([other, wanted]) => {
            const cause = options.find((one) => one.key === other);
            const value = known[other];
            return cause && !isHidden(cause) && (wanted.length ? isOneOf(value, wanted) : plain(value).trim() !== "");
        });
        return found ? found[2] : "";
    }

    function grey(option) {
        const box = document.getElementById(`${option.id}_box`);
        if (!box) return;
        const reason = reasonOf(option);
        let line = box.querySelector(":scope > .pivotal-reason");
        if ((line ? line.dataset.source : "") === reason) return; // not its text: the host may have translated that
        box.classList.toggle("pivotal-without-effect", Boolean(reason));
        if (!reason) {
            if (line) line.remove();
            return;
        }
        if (!line) {
            line = document.createElement("div");
            line.className = "pivotal-reason pivotal-note";
            line.setAttribute("role", "note");
            box.appendChild(line);
        }
        line.dataset.source = line.textContent = reason;
    }

    function mark() {
        if (!read()) return;
        const sections = new Map();
        for (const option of options) {
            const changed = isChanged(option);
            markField(option, changed);
            if (option.void) grey(option);
            const section = sectionOf(option);
            if (!section) continue;
            if (!sections.has(section)) sections.set(section, []);
            if (changed) sections.get(section).push(option);
        }
        sections.forEach((changed, section) => markSection(section, changed));
    }

    // ---- search

    function rank(option, words) {
        const label = option.label.toLowerCase();
        const all = `${label} ${option.key} ${option.place} ${option.help}`.toLowerCase();
        if (!words.every((word) => all.includes(word))) return -1;
        return words.reduce((sum, word) => sum + (label.startsWith(word) ? 4 : label.includes(word) ? 3
            : option.key.includes(word) ? 2 : 1), 0);
    }

    function find(text) {
        const words = text.toLowerCase().split(/\s+/).filter(Boolean);
        if (!words.length) return [];
        return options.map((option) => [rank(option, words), option]).filter(([points]) => points > 0)
            .sort((a, b) => b[0] - a[0]).slice(0, MOST).map(([, option]) => option);
    }

    function isOpen(section) {
        const header = headerOf(section);
        return !header || header.classList.contains("open") || header.getAttribute("aria-expanded") === "true";
    }

    function flash(box) {
        box.scrollIntoView({ behavior: "smooth", block: "center" });
        box.classList.add("pivotal-flash");
        setTimeout(() => box.classList.remove("pivotal-flash"), 1600);
    }

    function go(option) {
        const section = document.getElementById(`pivotal_section_${option.key.includes(".") ? option.key.split(".")[0] : "general"}`);
        const inside = document.getElementById(`${option.id}_box`);
        const folded = section && (!inside || section.contains(inside)) && !isOpen(section);
        if (folded) headerOf(section).click();
        setTimeout(() => {
            const box = document.getElementById(`${option.id}_box`);
            if (box && box.offsetParent) {
                flash(box);
                enter(box);
            } else if (section && section.offsetParent) flash(section);
        }, folded ? 250 : 0);
    }

    function entry(option) {
        const line = document.createElement("button");
        line.type = "button";
        line.className = "pivotal-hit";
        line.setAttribute("role", "option");
        const name = document.createElement("b");
        name.textContent = option.label;
        const place = document.createElement("span");
        place.textContent = option.place;
        const help = document.createElement("small");
        help.textContent = option.help;
        line.append(name, place, help);
        const without = isHidden(option) ? option.needs : reasonOf(option);
        if (without) {
            const reason = document.createElement("small");
            reason.className = "pivotal-void";
            reason.textContent = without;
            line.append(reason);
        }
        line.addEventListener("click", () => go(option));
        return line;
    }

    function show(input) {
        const list = input.parentElement.querySelector(".pivotal-found");
        const hits = find(input.value);
        list.replaceChildren(...hits.map(entry));
        if (input.value.trim() && !hits.length) list.textContent = "No option has such words.";
        list.hidden = !input.value.trim();
    }

    document.addEventListener("input", (event) => {
        if (event.target.classList && event.target.classList.contains("pivotal-search") && read()) show(event.target);
    });
    // Up and down go from the field through what was found and back.
    function walk(event, by) {
        const place = event.target.closest("#pivotal_finder");
        const stops = [place.querySelector(".pivotal-search"), ...place.querySelectorAll(".pivotal-hit")];
        const next = stops[stops.indexOf(event.target) + by];
        event.preventDefault();
        if (next) next.focus();
    }

    document.addEventListener("keydown", (event) => {
        const input = event.target;
        if (!input.matches || !input.matches("#pivotal_finder :is(.pivotal-search, .pivotal-hit)")) return;
        if (event.key === "ArrowDown" || event.key === "ArrowUp") walk(event, event.key === "ArrowDown" ? 1 : -1);
        else if (input.matches(".pivotal-hit")) {
            if (event.key === "Escape") input.closest("#pivotal_finder").querySelector(".pivotal-search").focus();
        } else if (event.key === "Escape") {
            input.value = "";
            show(input);
        } else if (event.key === "Enter") {
            event.preventDefault();
            const first = find(input.value)[0];
            if (first) go(first);
        }
    });
    document.addEventListener("pivotal-values", (event) => {
        known = event.detail;
        mark();
    });
    document.addEventListener("pivotal-slow-tick", mark);
})();
