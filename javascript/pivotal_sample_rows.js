// Lines of text as rows of a table (javascript/pivotal_rows.js) and back: "a cat --w 640" is a row with a prompt and a
// width. The lines in the option's own text box are all there is; which flags are known stands in the table's schema.
(function () {
    "use strict";

    const known = {}; // id -> the text that was read or written last, and its rows

    function clean(value) {
        return String(value === null || value === undefined ? "" : value).split(/\s+/).filter(Boolean).join(" ");
    }

    function defaultOf(schema, name) {
        return clean(schema.fields.find((field) => field.name === name).default);
    }

    // A flag that is unknown, or there twice, stays in the text, so that the check of the form tells of it.
    function rowOf(line, schema) {
        const { text, flags, off, names } = schema.lines;
        const isOff = line.startsWith(off);
        const [prompt, ...parts] = (isOff ? line.slice(off.length) : line).trim().split(/(?:^|\s)--(?=\w)/);
        const row = { [text]: prompt.trim() };
        for (const part of parts) {
            const [, flag, rest] = part.trim().match(/^(\S+)\s*(.*)$/);
            const name = Object.keys(flags).find((field) => flags[field] === flag.toLowerCase());
            if (!name || name in row) {
                row[text] = `${row[text]} --${part.trim()}`.trim();
                continue;
            }
            row[name] = (names[name] || {})[rest.toLowerCase()] || rest;
            if (!rest) row.bare = [...(row.bare || []), name]; // "--n" alone: nothing, where the run has something
        }
        for (const field of schema.fields) if (!(field.name in row)) row[field.name] = field.default;
        return isOff ? { ...row, off: true } : row;
    }

    function lineOf(row, schema) {
        const { text, flags, off } = schema.lines;
        const parts = [clean(row[text])];
        for (const [name, flag] of Object.entries(flags)) {
            const value = clean(row[name]);
            if (value && row.bare) row.bare = row.bare.filter((other) => other !== name);
            if (value && value !== defaultOf(schema, name)) parts.push(`--${flag} ${value}`);
            else if (!value && row.bare && row.bare.includes(name)) parts.push(`--${flag}`);
        }
        return [row.off ? off : "", ...parts].filter(Boolean).join(" ");
    }

    function parse(text, schema) {
        return text.split("\n").map((line) => line.trim()).filter(Boolean).map((line) => rowOf(line, schema));
    }

    function read(text, schema) {
        if (!known[schema.id] || known[schema.id].text !== text) known[schema.id] = { text: text, rows: parse(text, schema) };
        return known[schema.id].rows;
    }

    function write(rows, schema) {
        const text = rows.map((row) => lineOf(row, schema)).join("\n");
        known[schema.id] = { text: text, rows: rows };
        return text;
    }

    // What was typed into a prompt may have flags in it: once the field is left, they go to their own fields.
    document.addEventListener("change", (event) => {
        const editor = event.target.closest && event.target.closest("[data-pivotal-rows]");
        const schema = editor && JSON.parse(editor.dataset.pivotalRows);
        if (!schema || !schema.lines || !known[schema.id]) return;
        const { text, rows } = known[schema.id];
        const told = (all) => JSON.stringify(all.filter((row) => lineOf(row, schema)).map(
            (row) => schema.fields.map((field) => clean(row[field.name]))));
        if (told(rows) === told(parse(text, schema))) return;
        delete known[schema.id];
        editor.dataset.drawn = "-"; // is drawn anew by the next tick
    });

    window.pivotalSampleLines = { read: read, write: write };
})();
