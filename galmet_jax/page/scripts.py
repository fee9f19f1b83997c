"""What the widgets of a page do, in JavaScript.

Each script gets its variables from `CustomJS.args`.
"""

FILTER = """
const data = source.data;
const wanted = flags.value, names = split ? split.value : "all";
const [low, high] = range.value;
const keep = [];
for (let i = 0; i < data.id.length; i++) {
  const text = data.flags[i];
  const value = data.pred[i];
  keep.push((value >= low && value <= high || !isFinite(value))
    && (wanted == "all" || (wanted == "none" ? !text : text.includes(wanted)))
    && (names == "all" || data.split[i] == names));
}
shown.booleans = keep;
const number = keep.filter(x => x).length;
count.text = `${number} of ${keep.length} galaxies are shown.`;
source.change.emit();
"""
SYSTEM = """
const data = {...source.data};
data.pred = data[select.value];
data.residual = data.pred.map((x, i) => x - data.true[i]);
source.data = data;
"""
SEARCH = """
const wanted = search.value_input.trim();
const found = [];
if (wanted) {
  for (let i = 0; i < source.data.id.length; i++) {
    if (source.data.id[i].includes(wanted)) { found.push(i); }
  }
}
source.selected.indices = found;
"""
SELECT = """
chosen.indices = source.selected.indices.slice(0, limit);
source.change.emit();
"""
DOWNLOAD = r"""
const quote = x => {
  const text = String(x);
  return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
};
const rows = [names.join(",")];
for (const i of source.selected.indices) {
  rows.push(names.map(name => quote(source.data[name][i])).join(","));
}
const link = document.createElement("a");
link.href = URL.createObjectURL(
  new Blob([rows.join("\n") + "\n"], {type: "text/csv"}));
link.download = "selection.csv";
link.click();
"""
