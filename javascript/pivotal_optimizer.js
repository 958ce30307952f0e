// Remembers for each optimizer what was typed for it: who tries another and comes back finds his values again.
(function () {
    "use strict";

    const KIND = "optimizer.kind";
    const RATES = /^(optimizer\.|targets\..*rate$)/;
    const kept = new Map(); // kind -> its values
    let now = null; // kind

    function own(values) {
        return Object.fromEntries(Object.entries(values).filter(([key]) => RATES.test(key) && key !== KIND));
    }

    document.addEventListener("pivotal-values", (event) => {
        const values = event.detail;
        const kind = values[KIND];
        if (!kind) return;
        const known = kept.get(kind);
        // Only the kind: a preset that was filled in brings values of its own.
        const only = JSON.stringify(own(values)) === JSON.stringify(kept.get(now));
        if (now !== null && kind !== now && known && only) {
            const different = Object.fromEntries(Object.entries(known).filter(([key, value]) => values[key] !== value));
            now = kind;
            if (Object.keys(different).length) document.dispatchEvent(new CustomEvent("pivotal-set", { detail: different }));
            return;
        }
        now = kind;
        kept.set(kind, own(values));
    });
})();
