// Rows of fields, added, duplicated and deleted in the page. What a row has, and every word shown, comes from the JSON
// in data-pivotal-rows; the rows themselves are the JSON in a hidden text box of gradio, which is what is submitted.
(function () {
    "use strict";

    function make(tag, attributes, ...children) {
        const element = document.createElement(tag);
        for (const [name, value] of Object.entries(attributes || {})) {
            if (value !== "" && value !== null && value !== undefined && value !== false) {
                element.setAttribute(name, value === true ? "" : value);
            }
        }
        element.append(...children.filter((child) => child !== null));
        return element;
    }

    function textBox(schema) {
        const box = document.getElementById(schema.id);
        return box && (box.matches("textarea") ? box : box.querySelector("textarea, input"));
    }

    function read(schema, box) {
        if (schema.lines) return window.pivotalSampleLines.read(box.value, schema);
        try {
            const rows = JSON.parse(box.value || "[]");
            return Array.isArray(rows) ? rows : [];
        } catch (error) {
            return [];
        }
    }

    // What the host does not know yet, for the token counter: {name: vectors} of the rows.
    function tellVectors(editor, schema, rows) {
        if (!schema.vectors) return;
        const { name, count } = schema.vectors;
        const whole = (row) => Number.isInteger(Number(row[count])) && Number(row[count]) > 0 && Number(row[count]) <= 75;
        editor.dataset.pivotalVectors = JSON.stringify(Object.fromEntries(
            rows.filter((row) => row[name] && !row.off && whole(row)).map((row) => [row[name], Number(row[count])])));
    }

    function write(editor, schema, box, rows) {
        box.value = schema.lines ? window.pivotalSampleLines.write(rows, schema) : JSON.stringify(rows);
        editor.dataset.drawn = box.value;
        tellVectors(editor, schema, rows);
        box.dispatchEvent(new Event("input", { bubbles: true })); // what gradio listens to
    }

    function control(field, value) {
        if (field.kind === "choice") {
            const select = make("select", {});
            for (const choice of field.choices) select.append(make("option", { value: String(choice) }, String(choice)));
            select.value = String(value);
            return select;
        }
        if (field.kind === "check") {
            const check = make("input", { type: "checkbox" });
            check.checked = value === true || value === "true";
            return check;
        }
        const area = field.kind === "lines";
        const input = make(area ? "textarea" : "input", area ? { rows: 3 } : {
            type: field.kind === "number" ? "number" : "text", placeholder: field.empty, min: field.low, max: field.high,
            autocomplete: "off", spellcheck: "false",
        });
        input.value = value === null || value === undefined ? "" : value;
        return input;
    }

    // Rows that are switched off have no number in the run, so that problems find the others.
    function numberOf(rows, index) {
        return rows[index].off ? `off${index}` : rows.slice(0, index).filter((row) => !row.off).length;
    }

    function drawField(editor, schema, field, index, row, number) {
        const id = `${schema.id}_${number}_${field.name}`;
        const value = field.name in row ? row[field.name] : field.default;
        const input = control(field, value);
        input.addEventListener("input", () => {
            const box = textBox(schema);
            const rows = read(schema, box);
            rows[index] = rows[index] || {};
            rows[index][field.name] = field.kind === "check" ? input.checked : input.value;
            write(editor, schema, box, rows);
        });
        const check = field.kind === "check";
        const label = make("span", { class: "pivotal-label" }, field.label);
        const classes = ["pivotal-field", ...(check ? ["pivotal-check"] : []), ...(field.wide ? ["pivotal-wide"] : []),
            ...field.classes];
        const marks = Object.fromEntries(Object.entries(field.marks).map(
            ([mark, other]) => [mark, `#${schema.id}_${number}_${other} :is(input, select)`]));
        return make("label", { id: id, class: classes.join(" "), title: field.help, ...marks },
            check ? input : label, check ? label : input,
            field.switch ? null : make("small", { class: "pivotal-help" }, field.help));
    }

    function button(text, name, work) {
        const element = make("button", { type: "button", class: `pivotal-small-button pivotal-${name}` }, text);
        element.addEventListener("click", work);
        return element;
    }

    // The keyboard lands on what `then` finds in the row that `edit` returns the number of, which may be the last but one.
    function change(editor, schema, then, edit) {
        const box = textBox(schema);
        const rows = read(schema, box);
        const at = edit(rows);
        write(editor, schema, box, rows);
        const table = schema.id.replace(/^pivotal_/, "");
        document.dispatchEvent(new CustomEvent("pivotal-rows-moved", { detail: table }));
        draw(editor, schema, rows);
        const drawn = editor.querySelectorAll(":scope > .pivotal-row");
        const row = drawn[Math.min(at, drawn.length - 1)];
        window.pivotalFocus.land((row && row.querySelector(then)) || editor.querySelector(":scope > .pivotal-add"));
    }

    function drawUse(editor, schema, row, index) {
        const check = make("input", { type: "checkbox" });
        check.checked = !row.off;
        check.addEventListener("input", () => change(editor, schema, ".pivotal-in-use input", (rows) => {
            if (check.checked) delete rows[index].off;
            else rows[index].off = true;
            return index;
        }));
        return make("label", { class: "pivotal-field pivotal-check pivotal-in-use", title: schema.words.in_use_help }, check,
            make("span", { class: "pivotal-label" }, schema.words.in_use));
    }

    function drawRow(editor, schema, row, index, rows) {
        const number = numberOf(rows, index);
        const cell = (field) => drawField(editor, schema, field, index, row, number);
        const head = make("div", { class: "pivotal-row-head" },
            make("span", { class: "pivotal-row-title" }, `${schema.title} ${index + 1}`),
            schema.can_be_off ? drawUse(editor, schema, row, index) : null,
            ...schema.fields.filter((field) => field.switch).map(cell),
            make("span", { class: "pivotal-spring" }),
            button(schema.words.duplicate, "duplicate", () => change(editor, schema, ".pivotal-duplicate", (rows) => {
                rows.splice(index + 1, 0, { ...rows[index] });
                return index + 1;
            })),
            button(schema.words.remove, "remove", () => change(editor, schema, ".pivotal-remove", (rows) => {
                rows.splice(index, 1);
                return index;
            })));
        const others = schema.fields.filter((field) => !field.switch);
        const first = make("div", { class: "pivotal-grid-fields" }, ...others.filter((field) => field.first).map(cell));
        const rest = others.filter((field) => !field.first);
        const more = make("details", { class: "pivotal-more", open: editor.pivotalOpen && editor.pivotalOpen.has(index) },
            make("summary", {}, schema.words.more), make("div", { class: "pivotal-grid-fields" }, ...rest.map(cell)));
        more.addEventListener("toggle", () => {
            editor.pivotalOpen = editor.pivotalOpen || new Set();
            if (more.open) editor.pivotalOpen.add(index);
            else editor.pivotalOpen.delete(index);
        });
        return make("div", { class: row.off ? "pivotal-row pivotal-row-off" : "pivotal-row" }, head, first, rest.length ? more : null);
    }

    function draw(editor, schema, rows) {
        const add = button(schema.words.add, "add", () => change(editor, schema, ".pivotal-grid-fields :is(input, select, textarea)",
            (all) => all.push(Object.fromEntries(schema.fields.map((field) => [field.name, field.default]))) - 1));
        const giveFocusBack = window.pivotalFocus.within(editor);
        editor.replaceChildren(...rows.map((row, index) => drawRow(editor, schema, row, index, rows)), add);
        editor.dataset.drawn = textBox(schema).value;
        tellVectors(editor, schema, rows);
        giveFocusBack();
    }

    // Also after gradio has drawn the page anew, or has put other rows into the text box.
    function tick() {
        for (const editor of document.querySelectorAll("[data-pivotal-rows]")) {
            const schema = JSON.parse(editor.dataset.pivotalRows);
            const box = textBox(schema);
            if (schema.lines && !window.pivotalSampleLines) continue; // its script comes later
            if (box && (!editor.children.length || editor.dataset.drawn !== box.value)) draw(editor, schema, read(schema, box));
        }
    }

    document.addEventListener("pivotal-tick", tick);
    // A click may have brought the tab to the front, which is to be whole at once.
    document.addEventListener("click", () => [20, 80, 160].forEach((wait) => setTimeout(tick, wait)));
})();
