"use strict";
// Brushes on the uprights of parallel coordinates: what lies outside fades in every chart.
window.brushed = (scene, drawn, layouts) => {
  const { chart, columns, heights } = scene.brush;
  const home = drawn[chart];
  const count = document.getElementById("kept");
  const brushes = new Map();
  const near = 14;
  const least = 0.01;
  const faint = 0.04;
  const plain = home.data.map((trace) => ({ ...trace }));

  const keeps = (point) => [...brushes].every(([column, [low, high]]) => {
    const height = heights[point][column];
    return low <= height && height <= high;
  });
  const lines = (trace) => {
    const size = columns + 1;
    const kept = { x: [], y: [], customdata: [] };
    for (let start = 0; start < trace.x.length; start += size) {
      if (keeps(trace.customdata[start])) {
        for (const key of Object.keys(kept)) kept[key].push(...trace[key].slice(start, start + size));
      }
    }
    return kept;
  };
  const shapes = () => [...brushes].map(([column, [low, high]]) => ({
    type: "rect", x0: column - 0.07, x1: column + 0.07, y0: low, y1: high,
    fillcolor: "#56b4e9", opacity: 0.55, line: { width: 1, color: "#0072b2" },
  }));
  const paint = () => Plotly.relayout(home, { shapes: [...layouts[chart].shapes, ...shapes()] });
  const apply = () => {
    drawn.forEach((one, number) => {
      one.data.forEach((trace, place) => {
        if (!trace.customdata) return;
        if (number !== chart) {
          const chosen = brushes.size ? trace.customdata.flatMap((point, i) => (keeps(point) ? [i] : [])) : null;
          Plotly.restyle(one, { selectedpoints: [chosen] }, [place]);
        } else if (trace.meta === "ground") {
          const kept = lines(plain[place]);
          Plotly.restyle(one, { x: [kept.x], y: [kept.y], customdata: [kept.customdata] }, [place]);
        } else {
          Plotly.restyle(one, { opacity: keeps(trace.customdata[0]) ? 1 : faint }, [place]);
        }
      });
    });
    const all = Object.keys(heights);
    count.textContent = brushes.size ? `${all.filter(keeps).length} of ${all.length} drawn points are kept.` : "";
  };

  const at = (event) => {
    const { xaxis, yaxis, _size: size } = home._fullLayout;
    const box = home.getBoundingClientRect();
    const x = event.clientX - box.left - size.l;
    const column = Math.round(xaxis.p2l(x));
    const height = yaxis.p2l(event.clientY - box.top - size.t);
    const far = Math.abs(xaxis.l2p(column) - x) > near || height < -0.06 || height > 1.06;
    return { column: far || column < 0 || column >= columns ? null : column, height: Math.min(1, Math.max(0, height)) };
  };
  let drag = null;
  home.addEventListener("pointerdown", (event) => {
    const { column, height } = at(event);
    if (column === null || event.button !== 0 || event.pointerType === "touch") return;
    drag = { column, from: height };
    brushes.set(column, [height, height]);
    event.preventDefault();
  }, true);
  window.addEventListener("pointermove", (event) => {
    if (drag === null) {
      home.style.cursor = home.contains(event.target) && at(event).column !== null ? "ns-resize" : "";
      return;
    }
    const to = at(event).height;
    brushes.set(drag.column, [Math.min(drag.from, to), Math.max(drag.from, to)]);
    paint();
  });
  window.addEventListener("pointerup", () => {
    if (drag === null) return;
    const [low, high] = brushes.get(drag.column);
    if (high - low < least) brushes.delete(drag.column);
    drag = null;
    paint();
    apply();
  });
};
