const dark = matchMedia("(prefers-color-scheme: dark)");
function recoloured(value, changes) {
  if (Array.isArray(value)) return value.map((v) => recoloured(v, changes));
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, k === "values" || k === "datasets" ? v : recoloured(v, changes)]));
  return typeof value === "string" && value in changes ? changes[value] : value;
}
function draw(id) {
  const place = document.getElementById(id);
  if (place.closest("details:not([open])")) return;
  const spec = dark.matches ? recoloured(charts[id], theme.colours) : charts[id];
  const config = { ...(spec.config || {}), ...(dark.matches ? theme.dark : theme.light), background: "transparent" };
  vegaEmbed(place, { ...spec, title: undefined, background: "transparent", config }, { actions: { export: true, source: false, compiled: false, editor: false }, renderer: "svg" });
}
function drawAll() { Object.keys(charts).forEach(draw); }
document.querySelectorAll("details").forEach((d) => d.addEventListener("toggle", () => d.querySelectorAll(".chart[id]").forEach((c) => c.id in charts && d.open && !c.querySelector("svg") && draw(c.id))));
dark.addEventListener("change", drawAll);
drawAll();
