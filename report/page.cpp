#include "report/page.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "budgets/significance.h"
#include "core/text.h"
#include "report/chart.h"
#include "report/style.h"

namespace par5 {
namespace {

constexpr std::size_t kCurvePoints = 400;  // of one drawn curve

std::string bytes_text(double bytes) { return grouped(static_cast<std::int64_t>(std::llround(bytes))); }
std::string percent(double share, int digits = 1) { return fixed(100 * share, digits) + " %"; }
std::string element(const std::string& tag, const std::string& text, const std::string& style_class = {}) {
  return "<" + tag + (style_class.empty() ? "" : " class=\"" + style_class + "\"") + ">" + escaped(text) + "</" + tag +
         ">";
}
std::string signed_fixed(double value, int digits) { return (value > 0 ? "+" : "") + fixed(value, digits); }
std::string cell(const std::string& text) { return element("td", text, "n"); }
std::string section(const std::string& title, const std::string& body) {
  return body.empty() ? "" : "<section><h2>" + escaped(title) + "</h2>" + body + "</section>\n";
}
std::string figure(const std::string& svg, const std::string& caption) {
  return svg.empty() ? "" : "<figure>" + svg + "<figcaption>" + escaped(caption) + "</figcaption></figure>";
}

// Names and values at the top of a run.
std::string tiles(const RunData& run) {
  std::string out;
  const auto tile = [&](const std::string& name, const std::string& value, const std::string& note = {}) {
    out += "<div>" + element("dt", name) + "<dd>" + escaped(value) +
           (note.empty() ? "" : " <small>" + escaped(note) + "</small>") + "</dd></div>";
  };
  if (!run.evaluation.empty()) {
    const auto best = std::min_element(run.evaluation.begin(), run.evaluation.end(),
                                       [](const EvalRow& a, const EvalRow& b) { return a.bpb < b.bpb; });
    tile("bits per byte, " + run.evaluation.front().mode, fixed(run.evaluation.front().bpb, 5));
    if (best != run.evaluation.begin()) tile("lowest: " + best->mode, fixed(best->bpb, 5));
  } else if (const auto bpb = run.last("val_bpb")) {
    tile("bits per byte, in training", fixed(*bpb, 5));
  }
  if (run.artifact) tile("artifact", bytes_text(static_cast<double>(run.artifact->file_bytes)), "bytes");
  if (run.cap_bytes && run.total_bytes)
    tile(*run.total_bytes <= *run.cap_bytes ? "below the cap by" : "OVER the cap by",
         grouped(std::abs(*run.cap_bytes - *run.total_bytes)), "bytes");
  if (!run.audit_verdict.empty()) tile("audit", run.audit_verdict);
  if (const auto found = run.curves.find("loss"); found != run.curves.end())
    tile("steps", bytes_text(found->second.back().x));
  if (run.tokens) tile("tokens", bytes_text(*run.tokens));
  if (run.train_seconds) tile("training", duration(*run.train_seconds));
  if (const auto seed = run.facts.is_object() ? run.facts.find("seed") : run.facts.end();
      run.facts.is_object() && seed != run.facts.end())
    tile("seed", seed->dump());
  return out.empty() ? "" : "<dl class=\"tiles\">" + out + "</dl>";
}

struct NamedPart {
  std::string name;
  double bytes;
};
std::vector<NamedPart> parts_of(const ArtifactReport& report) {
  return {{"quantised weights", static_cast<double>(report.quantised_bytes)},
          {"fp8 and fp16 tensors", static_cast<double>(report.float_bytes)},
          {"scales", static_cast<double>(report.scale_bytes)},
          {"tokenizer", static_cast<double>(report.tokenizer_bytes)},
          {"metadata", static_cast<double>(report.metadata_bytes)},
          {"checksums", static_cast<double>(report.checksum_bytes)}};
}

double stored(const TensorReport& tensor, const std::string& part) {
  double bytes = 0;
  for (const StreamReport& stream : tensor.streams)
    if (stream.part == part) bytes += static_cast<double>(stream.stored_bytes);
  return bytes;
}
double stored(const TensorReport& tensor) {
  double bytes = 0;
  for (const StreamReport& stream : tensor.streams) bytes += static_cast<double>(stream.stored_bytes);
  return bytes;
}
std::string layouts_of(const TensorReport& tensor) {
  std::vector<std::string> names;
  for (const StreamReport& stream : tensor.streams)
    if (const std::string name = stream.layout + "/" + stream.codec;
        std::find(names.begin(), names.end(), name) == names.end())
      names.push_back(name);
  return join(names, ", ");
}

std::string size_section(const RunData& run) {
  if (!run.artifact) return {};
  const ArtifactReport& report = *run.artifact;
  std::vector<double> shares;
  std::string legend;
  std::size_t index = 0;
  for (const NamedPart& part : parts_of(report)) {
    shares.push_back(part.bytes);
    legend += "<li><i class=\"p" + std::to_string(index++) + "\"></i>" +
              escaped(part.name + ": " + bytes_text(part.bytes)) + "</li>";
  }
  std::string whole = bar(shares, static_cast<double>(report.file_bytes),
                          "The file's " + bytes_text(static_cast<double>(report.file_bytes)) +
                              " bytes by what they hold; the list below has the numbers");
  whole.replace(whole.find("sizebar"), 7, "sizebar whole");
  std::string body = element("p", "Every one of the file's " + bytes_text(static_cast<double>(report.file_bytes)) +
                                      " bytes, by what it holds.") +
                     whole + "<ul class=\"legend\">" + legend + "</ul>";
  double largest = 1;
  for (const TensorReport& tensor : report.tensors) largest = std::max(largest, stored(tensor));
  body +=
      "<div class=\"scroll\"><table><caption>Bytes stored for each tensor; bars are to one scale, by codes or values "
      "and scales.</caption><thead><tr><th scope=\"col\">tensor</th><th scope=\"col\" "
      "class=\"bar\"><span>size</span></th>"
      "<th scope=\"col\" class=\"n\">bytes</th><th scope=\"col\" class=\"n\">bits a weight</th><th "
      "scope=\"col\">grid</th><th scope=\"col\">layout/codec</th></tr></thead><tbody>";
  for (const TensorReport& tensor : report.tensors) {
    const double bytes = stored(tensor), weights = static_cast<double>(element_count(tensor.shape));
    const double scales = stored(tensor, "scales"), values = stored(tensor, "values");
    body += "<tr><th scope=\"row\"><code>" + escaped(tensor.name) + "</code></th><td class=\"bar\">" +
            bar({bytes - scales - values, values, scales}, largest, tensor.name + ": " + bytes_text(bytes) + " bytes") +
            "</td>" + cell(bytes_text(bytes)) + cell(weights > 0 ? fixed(8 * bytes / weights, 3) : "") +
            element("td", tensor.grid + (tensor.group > 0 ? " / " + std::to_string(tensor.group) : "")) +
            element("td", layouts_of(tensor)) + "</tr>";
  }
  return section("Where the bytes are", body + "</tbody></table></div>");
}

// Shares of the levels that rounding a Gaussian with an absmean scale gives: |w| has the mean sqrt(2/π) σ.
std::vector<double> gaussian_shares(const LevelHistogram& levels) {
  const double scale = std::sqrt(2 / std::acos(-1.0));
  const auto below = [&](double code) { return 0.5 * std::erfc(-code * scale / std::sqrt(2.0)); };
  std::vector<double> shares;
  const auto count = static_cast<int>(levels.counts.size());
  for (int i = 0; i < count; ++i) {
    const double code = levels.lowest_code + i * levels.step, half = levels.step / 2.0;
    shares.push_back((i + 1 == count ? 1 : below(code + half)) - (i == 0 ? 0 : below(code - half)));
  }
  return shares;
}

Histogram histogram_of(const LevelHistogram& levels, bool small) {
  Histogram histogram;
  double total = 0;
  for (const std::uint64_t count : levels.counts) total += static_cast<double>(count);
  std::vector<std::string> described;
  for (std::size_t i = 0; i < levels.counts.size(); ++i) {
    const int code = levels.lowest_code + static_cast<int>(i) * levels.step;
    histogram.labels.push_back((code > 0 ? "+" : code < 0 ? "−" : "") + std::to_string(std::abs(code)));
    histogram.shares.push_back(total > 0 ? static_cast<double>(levels.counts[i]) / total : 0);
    described.push_back(histogram.labels.back() + " " + percent(histogram.shares.back()));
  }
  // absmax grids have no one expectation: the scale depends on the largest weight.
  if (levels.counts.size() <= 7) histogram.expected = gaussian_shares(levels);
  histogram.small = small;
  histogram.title = "Levels of " + levels.tensor;
  histogram.description = levels.counts.size() <= 15 ? join(described, ", ") : percent(levels.zero_share) + " zeros";
  return histogram;
}

std::string levels_section(const RunData& run) {
  if (run.levels.empty()) return {};
  LevelHistogram all = run.levels.front();
  all.tensor = "all quantised weights";
  for (std::size_t i = 1; i < run.levels.size(); ++i)
    for (std::size_t j = 0; j < all.counts.size() && j < run.levels[i].counts.size(); ++j)
      all.counts[j] += run.levels[i].counts[j];
  const bool marks = all.counts.size() <= 7;
  std::string body = figure(draw(histogram_of(all, false)),
                            std::string("Share of all quantised weights on each level.") +
                                (marks ? " The marks are what rounding a Gaussian gives: shares near them show that "
                                         "training has not moved weights to other levels."
                                       : ""));
  std::string multiples;
  for (const LevelHistogram& levels : run.levels)
    multiples += "<figure>" + draw(histogram_of(levels, true)) + "<figcaption><code>" + escaped(levels.tensor) +
                 "</code> " + escaped(percent(levels.zero_share) + " zeros") + "</figcaption></figure>";
  return section("Levels", body + "<details open><summary>Each tensor</summary><div class=\"multiples\">" + multiples +
                               "</div></details>");
}

// One chart of the same curve of all runs.
std::string curve_figure(const std::vector<RunData>& runs, const std::string& key, const std::string& title,
                         const std::string& y_label, const std::string& caption, bool dots = false) {
  LineChart chart{title, "", "step", y_label, {}};
  std::vector<std::string> described;
  std::string legend;
  for (const RunData& run : runs) {
    const auto found = run.curves.find(key);
    if (found == run.curves.end() || found->second.empty()) continue;
    const std::size_t number = chart.curves.size();
    chart.curves.push_back({run.name, envelope(found->second, kCurvePoints), dots});
    described.push_back(run.name + ": from " + shortest(found->second.front().y) + " at step " +
                        bytes_text(found->second.front().x) + " to " + shortest(found->second.back().y) + " at step " +
                        bytes_text(found->second.back().x));
    legend += "<li><svg viewBox=\"0 0 36 10\" aria-hidden=\"true\"><path d=\"M0 5L36 5\" class=\"curve c" +
              std::to_string(number % 6) + "\"/></svg>" + escaped(run.name) + "</li>";
  }
  chart.description = join(described, "; ");
  const std::string svg = draw(chart);
  if (svg.empty()) return {};
  return element("h3", title) + (chart.curves.size() > 1 ? "<ul class=\"legend\">" + legend + "</ul>" : "") +
         figure(svg, caption);
}

std::string training_section(const std::vector<RunData>& runs) {
  std::string body =
      curve_figure(runs, "loss", "Training loss", "nats per token",
                   "Mean of the logged losses; the band spans their lowest and highest where several share a point.");
  body += curve_figure(runs, "val_bpb", "Validation", "bits per byte",
                       "Chunked evaluation of the model as it will be packed.", true);
  body += curve_figure(runs, "lr", "Learning rate", "rate of the first group",
                       "As it was realised, by wall clock or by step.");
  body += curve_figure(runs, "zero_share", "Weights on level 0", "share", "Share of quantised weights that are zero.");
  body += curve_figure(runs, "predicted_bytes", "Predicted size", "bytes",
                       "The packed artifact, without its tokenizer, as estimated during training.");
  return section("Training", body);
}

std::string evaluation_section(const RunData& run) {
  if (run.evaluation.empty()) return {};
  DotChart chart{"Evaluation of " + run.name, "", "bits per byte (lower is better)", {}};
  std::string table;
  std::vector<std::string> described;
  const double first = run.evaluation.front().bpb;
  bool intervals = false;
  for (const EvalRow& row : run.evaluation) {
    const bool interval = row.low && row.high;
    const std::string range = interval ? "[" + signed_fixed(*row.low, 6) + ", " + signed_fixed(*row.high, 6) + "]" : "";
    intervals = intervals || interval;
    chart.rows.push_back({row.mode, row.bpb, interval ? (*row.high - *row.low) / 2 : 0, fixed(row.bpb, 5), false});
    described.push_back(row.mode + " " + fixed(row.bpb, 5));
    const double difference = row.difference.value_or(row.bpb - first);
    table += "<tr>" + element("td", row.mode) + cell(fixed(row.bpb, 8)) +
             cell(&row == &run.evaluation.front() ? "" : signed_fixed(difference, 8)) + cell(range) +
             element("td", row.against) + cell(row.nats_per_token ? fixed(*row.nats_per_token, 8) : "") +
             cell(row.seconds ? duration(*row.seconds) : "") + "</tr>";
  }
  chart.description = join(described, ", ");
  std::string body = figure(
      draw(chart), intervals ? "Intervals: 95 % of the difference, paired by document, to the mode that the table "
                               "names; all modes on the same targets."
                             : "One run: points without intervals. Differences between modes are on the same targets.");
  body +=
      "<div class=\"scroll\"><table><caption>All digits, and the difference to the first mode or to the one "
      "named.</caption><thead><tr><th scope=\"col\">mode</th><th scope=\"col\" class=\"n\">bpb</th><th scope=\"col\" "
      "class=\"n\">difference</th>"
      "<th scope=\"col\" class=\"n\">95 % by document</th><th scope=\"col\">against</th>"
      "<th scope=\"col\" class=\"n\">nats a token</th><th scope=\"col\" class=\"n\">time</th></tr></thead><tbody>" +
      table + "</tbody></table></div>";
  if (!run.baselines.empty()) {
    std::vector<std::string> lines;
    for (const EvalRow& row : run.baselines) lines.push_back(row.mode + " " + fixed(row.bpb, 4));
    body += element("p",
                    "For scale, the same text through general-purpose compressors, which start from nothing: " +
                        join(lines, ", ") + ".",
                    "soft");
  }
  return section("Evaluation", body);
}

std::string ledger_section(const RunData& run) {
  std::string body;
  for (const LedgerStrip& ledger : run.ledgers) {
    HeatStrip strip{"Bits per byte along the text, " + ledger.name,
                    "",
                    "first target to last, " + bytes_text(static_cast<double>(ledger.declaration.targets)),
                    "bits per byte",
                    {},
                    {},
                    {},
                    "updates of the model"};
    double lowest = INFINITY, highest = -INFINITY;
    for (const LedgerCell& cell : ledger.cells) {
      const double bpb = cell.bytes > 0 ? ledger_bits(cell.units) / static_cast<double>(cell.bytes) : NAN;
      if (cell.bytes > 0) lowest = std::min(lowest, bpb), highest = std::max(highest, bpb);
      strip.values.push_back(bpb);
      strip.titles.push_back("targets " + grouped(cell.first_target) + " to " + grouped(cell.end_target - 1) + ": " +
                             fixed(bpb, 3) + " bits per byte" +
                             (cell.updates > 0 ? ", " + grouped(cell.updates) + " updates" : ""));
      strip.counts.push_back(static_cast<double>(cell.updates));
    }
    if (highest >= lowest)
      strip.description = "From " + fixed(lowest, 3) + " to " + fixed(highest, 3) + " bits per byte in " +
                          std::to_string(strip.values.size()) + " equal parts of the text";
    body += element("h3", ledger.declaration.mode + " (" + ledger.name + ")");
    body += "<p>Offline audit: <span class=\"" + ledger.verdict + "\">" + ledger.verdict + "</span>" +
            escaped(ledger.first_violation.empty() ? "" : ", " + ledger.first_violation) +
            escaped(". " + grouped(ledger.found.targets) + " of " + grouped(ledger.declaration.targets) +
                    " targets scored, " + grouped(ledger.found.updates) + " updates" +
                    (ledger.found.bytes > 0 ? ", " + fixed(ledger.found.bpb(), 8) + " bits per byte" : "") +
                    "; engine " + ledger.declaration.engine + ".") +
            "</p><p class=\"soft\">Head hash <code>" + ledger.head + "</code></p>";
    body += figure(draw(strip),
                   "Each field is the same number of targets in the order of the text; darker took more bits a byte. "
                   "Bars below count the steps of learning that were made there, after scoring.");
  }
  return section("Score ledger", body);
}

std::string audit_section(const RunData& run) {
  if (run.audit.empty()) return {};
  std::string body =
      "<p>Verdict: <span class=\"" + escaped(run.audit_verdict) + "\">" + escaped(run.audit_verdict) + "</span>";
  if (run.total_bytes && run.cap_bytes)
    body += escaped(", " + grouped(*run.total_bytes) + " of " + grouped(*run.cap_bytes) + " bytes");
  body +=
      ".</p><div class=\"scroll\"><table><thead><tr><th scope=\"col\">check</th><th scope=\"col\">verdict</th><th "
      "scope=\"col\">evidence</th></tr></thead><tbody>";
  for (const AuditRow& row : run.audit)
    body += "<tr><th scope=\"row\"><code>" + escaped(row.id) + "</code></th>" +
            element("td", row.verdict, row.verdict) + element("td", row.evidence) + "</tr>";
  return section("Audit", body + "</tbody></table></div>");
}

std::string configuration_section(const RunData& run) {
  if (run.config.empty()) return {};
  std::string rows;
  for (const auto& [key, value] : run.config)
    rows +=
        "<tr><th scope=\"row\"><code>" + escaped(key) + "</code></th><td><code>" + escaped(value) + "</code></td></tr>";
  return section("Configuration", "<details><summary>" + std::to_string(run.config.size()) +
                                      " settings</summary><div class=\"scroll\"><table><tbody>" + rows +
                                      "</tbody></table></div></details>");
}

std::string missing_section(const RunData& run) {
  if (run.missing.empty()) return {};
  std::string list;
  for (const std::string& line : run.missing) {
    const std::size_t colon = line.find(": ");
    list += "<li>" + escaped(line.substr(0, colon)) + ": <code>" + escaped(line.substr(colon + 2)) + "</code></li>";
  }
  return section("Not measured yet", "<ul>" + list + "</ul>");
}

// The modes that all runs have, with their mean and, for two runs or more, its 95 % interval.
std::vector<DotRow> shared_modes(const std::vector<RunData>& runs) {
  std::vector<DotRow> rows;
  for (const EvalRow& first : runs.front().evaluation) {
    std::vector<double> values;
    for (const RunData& run : runs)
      if (const EvalRow* row = run.row(first.mode)) values.push_back(row->bpb);
    if (values.size() != runs.size()) continue;
    const Sample sample = describe_sample(values);
    const auto test = welch_test(sample, describe_sample(std::vector<double>{sample.mean}));
    rows.push_back({first.mode, sample.mean, test ? test->half_width_95 : 0,
                    fixed(sample.mean, 5) + (test ? " ± " + fixed(test->half_width_95, 4) : ""), false});
  }
  return rows;
}

std::string comparison_section(const std::vector<RunData>& runs) {
  std::string body =
      "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">run</th><th scope=\"col\" class=\"n\">bpb</th><th "
      "scope=\"col\" class=\"n\">artifact bytes</th><th scope=\"col\" class=\"n\">steps</th>"
      "<th scope=\"col\" class=\"n\">tokens</th><th scope=\"col\" class=\"n\">training</th><th "
      "scope=\"col\">audit</th></tr></thead><tbody>";
  std::vector<RunResult> settings;
  for (const RunData& run : runs) {
    const auto bpb = run.evaluation.empty() ? run.last("val_bpb") : std::optional(run.evaluation.front().bpb);
    const auto loss = run.curves.find("loss");
    body += "<tr><th scope=\"row\">" + escaped(run.name) + "</th>" + cell(bpb ? fixed(*bpb, 6) : "") +
            cell(run.artifact ? bytes_text(static_cast<double>(run.artifact->file_bytes)) : "") +
            cell(loss == run.curves.end() ? "" : bytes_text(loss->second.back().x)) +
            cell(run.tokens ? bytes_text(*run.tokens) : "") +
            cell(run.train_seconds ? duration(*run.train_seconds) : "") +
            element("td", run.audit_verdict, run.audit_verdict) + "</tr>";
    RunResult result;
    result.config = run.config;
    settings.push_back(std::move(result));
  }
  body += "</tbody></table></div>";
  const auto rows = shared_modes(runs);
  std::vector<std::string> described;
  for (const DotRow& row : rows) described.push_back(row.label + " " + row.text);
  body +=
      figure(draw(DotChart{"Mean of the runs by mode", join(described, ", "), "bits per byte (lower is better)", rows}),
             "Mean of these runs and its 95 % interval (Student's t), where they all have the mode.");
  const auto differing = differing_settings(settings);
  if (!differing.empty()) {
    body += element("h3", "Settings that differ") + "<ul>";
    for (const std::string& line : differing) body += "<li><code>" + escaped(line) + "</code></li>";
    body += "</ul>";
  } else if (!runs.front().config.empty()) {
    body += element("p", "All settings but the seed are the same.", "soft");
  }
  return section("The runs side by side", body);
}

}  // namespace

std::string report_page(const std::vector<RunData>& runs, const std::string& program) {
  const std::string title = runs.size() == 1 ? runs.front().name : std::to_string(runs.size()) + " runs";
  std::string page =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\"><link rel=\"icon\" href=\"data:,\"><title>" +
      escaped(title) + " · par5 report</title><style>" + kStyle +
      "</style></head><body><main>\n<header><span class=\"soft\">par5 report</span><h1>" + escaped(title) +
      "</h1></header>\n";
  if (runs.size() > 1) page += comparison_section(runs) + training_section(runs);
  for (const RunData& run : runs) {
    if (runs.size() > 1) page += element("h1", run.name) + "\n";
    page += tiles(run) + "\n" + evaluation_section(run) + ledger_section(run);
    if (runs.size() == 1) page += training_section(runs);
    page += size_section(run) + levels_section(run) + audit_section(run) + configuration_section(run) +
            missing_section(run);
  }
  return page + "<footer class=\"soft\"><p>Written by " + escaped(program) +
         " from the files of the runs; nothing on this page was typed in.</p></footer></main></body></html>\n";
}

}  // namespace par5
