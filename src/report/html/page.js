// Draws the charts of the page from the data in the page, and saves these data as files. Tables and text need no script.
"use strict";
(() => {
  // While a run is in progress, `read` sets these again and again.
  let data, timeline, series, END;
  const text = (name) => JSON.parse(document.querySelector('script.file[data-name="' + name + '"]').textContent);

  // --- Saving -------------------------------------------------------------------------------------------------------
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-file]");
    if (!button) return;
    const name = button.dataset.file;
    const type = name.endsWith(".json") ? "application/json" : "text/plain";
    const url = URL.createObjectURL(new Blob([text(name)], { type }));
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  });

  // --- Numbers as the tables write them --------------------------------------------------------------------------------
  const digits = (v) => (v < 9.995 ? v.toFixed(2) : v < 99.95 ? v.toFixed(1) : v.toFixed(0));
  const pad = (n) => String(n).padStart(2, "0");
  const grouped = (v) => Math.round(v).toString().replace(/\B(?=(\d{3})+$)/g, ",");
  const duration = (ms) => {
    if (ms == null) return "n/a";
    if (ms < 1e-6) return "0";
    if (ms < 0.0009995) return (ms * 1e6).toFixed(0) + " ns";
    if (ms < 0.9995) return digits(ms * 1e3) + " us";
    if (ms < 999.5) return digits(ms) + " ms";
    if (ms < 119950) return digits(ms / 1e3) + " s";
    const s = Math.round(ms / 1e3), m = Math.floor(s / 60) % 60, h = Math.floor(s / 3600);
    return h > 0 ? grouped(h) + " h " + pad(m) + " min" : m + " min " + pad(s % 60) + " s";
  };
  const short = (ms) => duration(ms).replace(/\.0+ /, " ").replace(/(\.\d)0 /, "$1 ");
  const count = (v) => (v == null ? "n/a" : grouped(v));
  const rate = (v) => {
    if (v == null) return "n/a";
    return (v === 0 ? "0" : v > 0 && v < 0.0995 ? v.toFixed(Math.min(12, 2 - Math.floor(Math.log10(v)))) : v < 9.995 ? v.toFixed(2) : v < 999.95 ? v.toFixed(1) : grouped(v)) + "/s";
  };
  const percent = (p) => (p === 0 ? "0" : p >= 100 ? "100" : p < 0.01 ? "<0.01" : p >= 99.995 ? ">99.99" : p.toFixed(2)) + " %";
  const at = (s) => {
    if (s == null) return "";
    const whole = data.took_s < 180 ? s.toFixed(s % 1 ? 1 : 0) + " s" : null;
    if (whole) return whole;
    const all = Math.round(s), h = Math.floor(all / 3600), m = Math.floor(all / 60) % 60, rest = all % 60;
    return h > 0 ? h + ":" + pad(m) + ":" + pad(rest) : m + ":" + pad(rest);
  };

  // --- The time series ---------------------------------------------------------------------------------------------------
  const COUNTS = ["offered", "started", "accepted", "expected", "deferred", "rejected", "refused", "dropped", "timed_out",
    "in_doubt", "malformed", "interrupted", "shed", "opened", "accepted_recipients", "delivered", "retries", "attempts_failed"];
  const STATES = ["sessions", "in_flight", "waiting", "queued", "retrying"];
  const cells = (line) => {
    const row = [];
    const pattern = /(?:"((?:[^"]|"")*)"|([^,]*))(?:,|$)/g;
    while (pattern.lastIndex < line.length) {
      const found = pattern.exec(line);
      row.push(found[1] != null ? found[1].replace(/""/g, '"') : found[2]);
    }
    return row;
  };
  // Adds up the rows of all phases of a second, and turns counts into rates per second.
  const readSeries = () => {
    if (!timeline) return null;
    const lines = text("timeseries.csv").split("\n").filter((line) => line);
    const titles = cells(lines[0]);
    const place = (name) => titles.indexOf(name);
    const rows = new Map();
    for (const line of lines.slice(1)) {
      const row = cells(line);
      const t = Number(row[place("t_s")]);
      const one = rows.get(t) || { t, length: Number(row[place("length_s")]) };
      for (const name of COUNTS) one[name] = (one[name] || 0) + Number(row[place(name)]);
      for (const name of STATES) one[name] = Number(row[place(name)]);
      rows.set(t, one);
    }
    const sorted = [...rows.values()].sort((a, b) => a.t - b.t);
    const columns = { t: sorted.map((row) => row.t) };
    // The last row may be shorter than a second. Dividing by its length could show a rate that the run never had.
    for (const name of COUNTS) columns[name] = sorted.map((row) => row[name] / Math.max(row.length, 1));
    for (const name of STATES) columns[name] = sorted.map((row) => row[name]);
    return columns;
  };
  const read = () => {
    data = JSON.parse(document.getElementById("data").textContent);
    timeline = data.timeline;
    series = readSeries();
    END = Math.max(data.took_s, series && series.t.length ? series.t.at(-1) + timeline.step_s : 0, 0.1);
    document.querySelectorAll("button[data-file]").forEach((button) => { button.hidden = false; });
    document.getElementById("unscripted")?.remove();
  };

  // --- Drawing -----------------------------------------------------------------------------------------------------------
  const style = () => getComputedStyle(document.documentElement);
  const color = (name) => style().getPropertyValue("--" + name).trim();
  const faint = (name, share) => {
    const hex = color(name);
    const part = (i) => parseInt(hex.length === 4 ? hex[i + 1] + hex[i + 1] : hex.slice(1 + 2 * i, 3 + 2 * i), 16);
    return "rgba(" + part(0) + "," + part(1) + "," + part(2) + "," + share + ")";
  };
  const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif';

  // Draws the start and the name of each phase, and a shade over a warm-up, which is not measured.
  const phases = {
    hooks: {
      drawAxes: [(u) => {
        const { ctx, bbox } = u;
        ctx.save();
        ctx.beginPath();
        ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
        ctx.clip();
        for (const phase of data.phases) {
          const from = u.valToPos(phase.from, "x", true), to = u.valToPos(phase.from + phase.length, "x", true);
          if (phase.warmup) {
            ctx.fillStyle = faint("c8", 0.13);
            ctx.fillRect(from, bbox.top, to - from, bbox.height);
          }
          ctx.strokeStyle = faint("c8", 0.6);
          ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
          ctx.beginPath();
          ctx.moveTo(from, bbox.top);
          ctx.lineTo(from, bbox.top + bbox.height);
          ctx.stroke();
        }
        // An event has a line at the start of its command, and a band until the end.
        ctx.setLineDash([]);
        for (const event of data.events) {
          const from = u.valToPos(event.from, "x", true), to = u.valToPos(event.to ?? END, "x", true);
          ctx.fillStyle = faint("bad", 0.1);
          ctx.fillRect(from, bbox.top, Math.max(to - from, devicePixelRatio), bbox.height);
          ctx.strokeStyle = faint("bad", 0.8);
          ctx.beginPath();
          ctx.moveTo(from, bbox.top);
          ctx.lineTo(from, bbox.top + bbox.height);
          ctx.stroke();
        }
        ctx.restore();
      }],
      draw: [(u) => {
        const { ctx, bbox } = u;
        ctx.save();
        ctx.font = 11 * devicePixelRatio + "px " + FONT.slice(5);
        ctx.fillStyle = color("quiet");
        ctx.textAlign = "left";
        ctx.textBaseline = "bottom";
        let end = -Infinity;
        for (const phase of data.phases) {
          const from = Math.max(u.valToPos(phase.from, "x", true), bbox.left);
          const to = Math.min(u.valToPos(phase.from + phase.length, "x", true), bbox.left + bbox.width);
          const label = phase.name + (phase.warmup && !phase.name.includes("warm") ? " (warm-up)" : "");
          const width = ctx.measureText(label).width;
          // A name that would overlap the name before is left out.
          if (to <= from || from < end || from + width > bbox.left + bbox.width + 2) continue;
          ctx.fillText(label, from, bbox.top - 2 * devicePixelRatio);
          end = from + width + 6 * devicePixelRatio;
        }
        ctx.fillStyle = color("bad");
        ctx.textBaseline = "top";
        let above = -Infinity;
        for (const event of data.events) {
          const from = u.valToPos(event.from, "x", true) + 4 * devicePixelRatio;
          const width = ctx.measureText(event.name).width;
          if (from < bbox.left || from < above || from + width > bbox.left + bbox.width) continue;
          ctx.fillText(event.name, from, bbox.top + 2 * devicePixelRatio);
          above = from + width + 6 * devicePixelRatio;
        }
        ctx.restore();
      }],
    },
  };

  const isDecade = (v) => v != null && Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-9;
  const axis = (more) => ({
    font: FONT, labelFont: FONT, stroke: color("quiet"), ticks: { stroke: color("line"), size: 4 },
    grid: { stroke: color("grid"), width: 1 }, ...more,
  });
  const width = (plot) => Math.max(280, plot.clientWidth);
  const log = { distr: 3, log: 10 };
  // Returns the function that writes a value in the legend; the text is empty while the pointer is outside the chart.
  const told = (value) => (u, v, s, k) => (k == null ? "" : value(v, k));
  const line = (label, name, value, more) => ({ label, stroke: color(name), width: 2, value: told(value),
    points: { show: (u) => u.data[0].length < 40, size: 5 }, ...more });

  // Draws a chart over time. All charts over time have the same zoom.
  const overTime = (plot, columns, lines, more) => new uPlot({
    width: width(plot), height: 240, padding: [22, 12, 0, 0],
    legend: { live: true }, cursor: { sync: { key: "time" }, drag: { x: true, y: false }, focus: { prox: -1 } },
    scales: { x: { time: false, range: (u, low, high) => (low == null || (low <= u.data[0][0] && high >= u.data[0].at(-1)) ? [0, END] : [low, high]) }, ...more.scales },
    axes: [axis({ values: (u, splits) => splits.map(at), space: 70, size: 28,
      incrs: [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400] }), ...more.axes],
    series: [{ label: "at", value: told(at) }, ...lines],
    bands: more.bands || [], plugins: [phases, ...(more.plugins || [])],
  }, columns, plot);

  const amounts = (label) => [axis({ size: 62, values: (u, splits) => splits.map((v) => (v % 1 ? v : grouped(v))) , label, labelSize: 18 })];
  const onlyDecades = (u, splits) => splits.map((v) => (isDecade(v) ? v : null));
  const times = (label) => [axis({ size: 66, values: (u, splits) => splits.map((v) => (v == null ? "" : short(v))), label, labelSize: label ? 18 : 0, space: 24,
    filter: onlyDecades, grid: { stroke: color("grid"), width: 1, filter: onlyDecades }, ticks: { stroke: color("line"), size: 4, filter: onlyDecades } })];
  const fromZero = { range: (u, low, high) => [0, high > 0 ? high * 1.08 : 1] };
  // A logarithmic scale between the powers of ten around all values.
  const decades = { ...log, range: (u, low, high) => {
    if (low == null || !(low > 0)) return [0.01, 1];
    return [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high * 1.0001))];
  } };
  const positive = (values) => values.map((v) => (v > 0 ? v : null));
  const some = (values) => values.some((v) => v > 0);

  // Draws stacked areas. The legend shows the value of each part, not the sum.
  const stacked = (plot, t, parts, value, label) => {
    // Repeats the last value, so that the last step has a width.
    t = [...t, END > t.at(-1) ? END : t.at(-1) + 1];
    parts = parts.map((part) => ({ ...part, values: [...part.values, part.values.at(-1)] }));
    const sums = [];
    let below = t.map(() => 0);
    for (const part of parts) {
      below = below.map((v, i) => v + (part.values[i] || 0));
      sums.push(below);
    }
    // The sum of all parts is drawn first. Each smaller sum then covers the lower part of the area; one part stays visible.
    const order = parts.map((_, i) => i).reverse();
    const lines = order.map((i) => ({ label: parts[i].label, stroke: color(parts[i].color), fill: color(parts[i].color), width: 0.5,
      value: told((v, k) => value(parts[i].values[k] || 0)), points: { show: false },
      paths: uPlot.paths.stepped({ align: 1 }) }));
    return overTime(plot, [t, ...order.map((i) => sums[i])], lines, { scales: { y: fromZero }, axes: amounts(label) });
  };

  const none = (plot, words) => {
    const p = document.createElement("p");
    p.className = "none";
    p.textContent = words;
    plot.append(p);
    return null;
  };

  // Draws the quantiles of a time. `more` holds further lines, as pairs of values and options.
  const quantiles = (plot, what, own, label, more) => {
    const { t, step_s } = timeline.bands;
    const words = document.createElement("span");
    words.className = "more";
    plot.parentElement.querySelector("figcaption").append(words);
    words.append(" " + what + ", " + (step_s > 1 ? "taken over " + at(step_s) + " each. " : "second by second. ")
      + "A point is missing where there are too few values: p90 needs 44, p99 needs 459.");
    return overTime(plot, [t, positive(own.max), positive(own.p99), positive(own.p90), positive(own.p50), ...more.map((one) => one[0])], [
      line("max", "c5", duration, { width: 1 }), line("p99", "c4", duration), line("p90", "c9", duration), line("p50", "c1", duration), ...more.map((one) => one[1])],
      { scales: { y: decades }, axes: times(label),
        bands: [{ series: [1, 2], fill: faint("c5", 0.1) }, { series: [2, 3], fill: faint("c4", 0.14) }, { series: [3, 4], fill: faint("c1", 0.14) }] });
  };

  const COLORS = { accepted: "c3", expected: "c2", deferred: "c9", rejected: "c4", refused: "c5", dropped: "c7", timed_out: "c6",
    in_doubt: "c1", malformed: "c10", interrupted: "c8", shed: "c12" };
  const STEPS = { dns: "c12", connect: "c8", tls: "c6", "tls-resumed": "c6", greeting: "c10", hello: "c1", starttls: "c7",
    auth: "c9", mail: "c2", rcpt: "c11", data: "c3", body: "c4", command: "c12", quit: "c12" };

  const charts = {
    rates: (plot) => overTime(plot, [series.t, series.offered, series.started, series.accepted], [
      line("offered", "c8", rate, { dash: [6, 4] }), line("started", "c1", rate), line("accepted", "c3", rate)],
      { scales: { y: fromZero }, axes: amounts("a second") }),

    occupancy: (plot) => overTime(plot, [series.t, series.sessions, series.in_flight, series.waiting], [
      line("open sessions", "c1", count), line("arrivals in flight", "c2", count), line("waiting", "c4", count)],
      { scales: { y: fromZero }, axes: amounts("at once") }),

    attempts: (plot) => overTime(plot, [series.t, series.started, series.started.map((v, i) => v + series.retries[i]), series.attempts_failed], [
      line("first attempts", "c1", rate), line("attempts", "c9", rate), line("failed attempts", "c4", rate, { dash: [4, 4] })],
      { scales: { y: fromZero }, axes: amounts("a second") }),

    retrying: (plot) => {
      const amplification = series.started.map((v, i) => (v > 0 ? (v + series.retries[i]) / v : null));
      return overTime(plot, [series.t, series.retrying, amplification], [
        line("waiting for their next attempt", "c2", count),
        { label: "attempts for each message", stroke: "transparent", points: { show: false }, scale: "none", value: told((v) => (v == null ? "n/a" : v.toFixed(2))) }],
        { scales: { y: fromZero, none: {} }, axes: amounts("messages") });
    },

    bands: (plot) => {
      const { response, service } = timeline.bands;
      if (!some(response.max)) return none(plot, "No arrival ended as accepted.");
      return quantiles(plot, "Of what was " + timeline.outcome, response, "response time", [
        [positive(service.p50), line("service p50", "c8", duration, { dash: [4, 4], width: 1.5 })]]);
    },

    queue: (plot) => overTime(plot, [series.t, series.queued], [
      line("in the queue", "c4", count, { fill: faint("c4", 0.14) })], { scales: { y: fromZero }, axes: amounts("recipients") }),

    deliveries: (plot) => overTime(plot, [series.t, series.accepted_recipients, series.delivered], [
      line("accepted", "c3", rate), line("delivered", "c1", rate)], { scales: { y: fromZero }, axes: amounts("a second") }),

    transit: (plot) => {
      const { transit } = timeline.bands;
      if (!some(transit.max)) return none(plot, "Nothing came out.");
      return quantiles(plot, "From the final reply to the end of the content at the receiver; of what came out", transit, "transit", []);
    },

    heat: (plot) => {
      const { cells, step_s, rows_a_decade } = timeline.heat;
      if (!cells.length) return none(plot, "No arrival ended as " + timeline.outcome + ".");
      const rows = cells.map((cell) => cell[1]);
      const low = Math.min(...rows), high = Math.max(...rows) + 1;
      const most = Math.max(...cells.map((cell) => cell[2]));
      const columns = Math.max(...cells.map((cell) => cell[0])) + 1;
      const value = (row) => 10 ** (row / rows_a_decade) / 1e6;
      const known = new Map(cells.map((cell) => [cell[0] + ":" + cell[1], cell[2]]));
      const t = Array.from({ length: columns + 1 }, (_, i) => i * step_s);
      const bottom = 10 ** Math.floor(Math.log10(value(low))), top = 10 ** Math.ceil(Math.log10(value(high)));
      const paint = { hooks: { draw: [(u) => {
        const { ctx, bbox } = u;
        ctx.save();
        ctx.beginPath();
        ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
        ctx.clip();
        for (const [column, row, n] of cells) {
          const x = u.valToPos(column * step_s, "x", true), right = u.valToPos((column + 1) * step_s, "x", true);
          const y = u.valToPos(value(row + 1), "y", true), under = u.valToPos(value(row), "y", true);
          ctx.fillStyle = faint("c1", 0.12 + 0.88 * Math.log1p(n) / Math.log1p(most));
          ctx.fillRect(Math.round(x), Math.round(y), Math.max(1, Math.round(right) - Math.round(x)), Math.max(1, Math.round(under) - Math.round(y)));
        }
        ctx.restore();
      }] } };
      const under = (u) => {
        const left = u.cursor.left, up = u.cursor.top;
        if (left == null || left < 0 || up == null || up < 0) return "";
        const column = Math.floor(u.posToVal(left, "x") / step_s);
        const row = Math.floor(Math.log10(u.posToVal(up, "y") * 1e6) * rows_a_decade);
        return count(known.get(column + ":" + row) || 0) + " from " + duration(value(row)) + " to " + duration(value(row + 1));
      };
      return overTime(plot, [t, t.map(() => null)], [{ label: "arrivals", stroke: color("c1"), value: under }],
        { scales: { y: { ...log, range: [bottom, top] } }, axes: times("response time"), plugins: [paint] });
    },

    spectrum: (plot, chosen) => {
      const draw = (spectrum) => {
        const label = (x) => (x < 1.5 ? "min" : (100 * (1 - 1 / x)).toFixed(Math.max(0, Math.round(Math.log10(x)) - 2)) + " %");
        return new uPlot({
          width: width(plot), height: 280, padding: [12, 24, 0, 0],
          cursor: { drag: { x: true, y: false }, focus: { prox: -1 } },
          scales: { x: { ...log, time: false }, y: decades },
          axes: [axis({ values: (u, splits) => splits.map((x) => (isDecade(x) ? label(x) : "")), size: 28,
            label: "share of arrivals that were not slower", labelSize: 18, grid: { stroke: color("grid"), width: 1, filter: onlyDecades }, ticks: { stroke: color("line"), size: 4, filter: onlyDecades } }), ...times("")],
          series: [{ label: "not slower", value: told((x) => (x === 1 ? "least" : Number((100 * (1 - 1 / x)).toPrecision(6)) + " %")) },
            line("response", "c1", duration, { points: { show: false } }), line("service", "c8", duration, { dash: [6, 4], points: { show: false } })],
        }, [spectrum.x, positive(spectrum.response), spectrum.service.length ? positive(spectrum.service) : spectrum.x.map(() => null)], plot);
      };
      if (data.spectra.length > 1) {
        const select = document.createElement("select");
        select.setAttribute("aria-label", "phase");
        data.spectra.forEach((spectrum, i) => select.add(new Option(spectrum.phase + ", " + spectrum.outcome, i, false, i === chosen)));
        select.addEventListener("change", () => render(plot.parentElement, Number(select.value)));
        plot.append(select);
      }
      return draw(data.spectra[chosen || 0]);
    },

    steps: (plot) => {
      const parts = Object.keys(STEPS).filter((name) => timeline.steps.by_name[name] && some(timeline.steps.by_name[name]))
        .map((name) => ({ label: name, color: STEPS[name], values: timeline.steps.by_name[name] }));
      return parts.length ? stacked(plot, timeline.steps.t, parts, duration, "ms") : none(plot, "No step was timed.");
    },

    outcomes: (plot) => {
      const parts = Object.keys(COLORS).filter((name) => some(series[name]))
        .map((name) => ({ label: name.replace("_", "-"), color: COLORS[name], values: series[name] }));
      return parts.length ? stacked(plot, series.t, parts, rate, "a second") : none(plot, "No arrival ended.");
    },

    conditions: (plot) => {
      const { length, most, others } = timeline.conditions;
      const bad = ["c5", "c4", "c7", "c9", "c6", "c1", "c10", "c8"], good = ["c2", "c3", "c11"];
      const parts = most.map(({ name, expected, counts }, i) => {
        const rest = others > 0 && i === most.length - 1;
        return { label: rest ? others + " others" : name + (expected ? " (expected)" : ""),
          color: rest ? "c12" : expected && good.length ? good.shift() : bad.shift() || "c12",
          // The last row may be shorter than a second. Dividing by its length could show a rate that the run never had.
          values: counts.map((n, row) => n / Math.max(length[row], 1)) };
      });
      return stacked(plot, timeline.steps.t, parts, rate, "a second");
    },

    refusals: (plot) => {
      const refused = series.t.map((_, i) => series.expected[i] + series.deferred[i] + series.rejected[i] + series.refused[i]);
      return overTime(plot, [series.t, series.sessions, positive(refused)], [
        line("open sessions", "c1", count),
        { label: "refused", scale: "refused", stroke: color("c5"), fill: faint("c5", 0.5), width: 1, value: told((v) => rate(v || 0)), points: { show: false },
          paths: uPlot.paths.bars({ size: [0.8, 40], align: 1 }) }],
        { scales: { y: fromZero, refused: fromZero },
          axes: [...amounts("open sessions"), axis({ scale: "refused", side: 1, size: 58, grid: { show: false }, stroke: color("c5"), label: "refused a second", labelSize: 18,
            values: (u, splits) => splits.map((v) => (v >= 1 || v === 0 ? grouped(v) : v)) })] });
    },

    trials: (plot) => {
      const { by, load, accepted, p50, p99, max, growth, queue, goals } = data.curve;
      const bounds = { hooks: { drawAxes: [(u) => {
        const { ctx, bbox } = u;
        ctx.save();
        ctx.beginPath();
        ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
        ctx.clip();
        for (const [, lower, upper] of goals) {
          const from = lower == null ? bbox.left : u.valToPos(lower, "x", true);
          const to = upper == null ? bbox.left + bbox.width : u.valToPos(upper, "x", true);
          ctx.fillStyle = faint("c9", 0.22);
          ctx.fillRect(from, bbox.top, Math.max(to - from, 2 * devicePixelRatio), bbox.height);
        }
        ctx.restore();
      }] } };
      const unit = by === "rate" ? "/s" : by === "size" ? " bytes" : "";
      const points = { points: { show: true, size: 7 } };
      return new uPlot({
        width: width(plot), height: 280, padding: [12, 24, 0, 0], cursor: { drag: { x: true, y: false }, focus: { prox: -1 } },
        scales: { x: { time: false, range: (u, low, high) => [Math.max(0, low - (high - low) * 0.04 - 1e-9), high + (high - low) * 0.04 + 1e-9] }, y: decades, accepted: fromZero },
        axes: [axis({ size: 28, label: by, labelSize: 18, values: (u, splits) => splits.map((v) => (v >= 1 || v === 0 ? grouped(v) : v) + unit) }), ...times("response time"),
          axis({ scale: "accepted", side: 1, size: 58, grid: { show: false }, label: "accepted a second", labelSize: 18, values: (u, splits) => splits.map((v) => (v >= 1 || v === 0 ? grouped(v) : v)) })],
        series: [{ label: by, value: told((v) => (by === "rate" ? rate(v) : grouped(v) + unit)) }, line("max", "c5", duration, { width: 1, ...points }), line("p99", "c4", duration, points),
          line("p50", "c1", duration, points), line("accepted", "c3", rate, { scale: "accepted", dash: [4, 4], ...points }),
          line("backlog growth", "c2", rate, { scale: "accepted", dash: [2, 3], ...points }),
          ...(queue.length ? [line("queue growth", "c6", rate, { scale: "accepted", ...points })] : [])],
        plugins: [bounds],
      }, [load, positive(max), positive(p99), positive(p50), accepted, growth, ...(queue.length ? [queue] : [])], plot);
    },

    levels: (plot) => {
      const known = Object.entries(timeline.levels).map(([n, pair]) => [Number(n), ...pair]).sort((a, b) => a[0] - b[0]);
      if (!known.length) return none(plot, "No arrival ended.");
      const share = known.map(([, all, refused]) => 100 * refused / all);
      return new uPlot({
        width: width(plot), height: 200, padding: [12, 24, 0, 0], cursor: { drag: { x: false, y: false } },
        scales: { x: { time: false, range: (u, low, high) => [Math.max(0, low - 1), high + 1] }, y: { range: [0, 100] } },
        axes: [axis({ label: "open sessions", labelSize: 18, size: 28, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] }), axis({ size: 62, values: (u, splits) => splits.map((v) => v + " %"), label: "refused", labelSize: 18 })],
        series: [{ label: "open sessions", value: told(count) },
          { label: "refused", stroke: color("c5"), fill: faint("c5", 0.5), value: told((v, k) => percent(share[k]) + " of " + count(known[k][1])),
            points: { show: false }, paths: uPlot.paths.bars({ size: [0.7, 30] }) }],
      }, [known.map((one) => one[0]), positive(share)], plot);
    },
  };

  const drawn = new Map();
  const render = (figure, chosen) => {
    const plot = figure.querySelector(".plot");
    const old = drawn.get(figure);
    if (old && old.chart) old.chart.destroy();
    plot.replaceChildren();
    figure.querySelectorAll("figcaption .more").forEach((words) => words.remove());
    const choice = chosen ?? (old ? old.choice : 0);
    drawn.set(figure, { chart: charts[figure.dataset.chart](plot, choice), choice });
  };
  const renderAll = () => document.querySelectorAll("figure[data-chart]").forEach((figure) => render(figure));
  read();
  renderAll();

  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      for (const [figure, { chart }] of drawn) {
        if (chart) chart.setSize({ width: width(figure.querySelector(".plot")), height: chart.height });
      }
    }, 100);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", renderAll);
  // Paper is white: canvases do not follow a change of colours, and are drawn again in light colours.
  const print = (on) => () => {
    document.documentElement.toggleAttribute("data-print", on);
    renderAll();
  };
  addEventListener("beforeprint", print(true));
  addEventListener("afterprint", print(false));
  // The page of a run in progress uses these.
  globalThis.charts = { drawn, read, render, end: () => END };
  document.documentElement.dataset.drawn = String([...drawn.values()].filter((one) => one.chart).length);
})();
