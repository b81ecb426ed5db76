#include <algorithm>
#include <cmath>
#include <map>

#include "budgets/run_results.h"
#include "budgets/significance.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "core/log.h"
#include "core/text.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kReadmeLevel = 0.01, kFrontierLevel = 0.25;

struct Options {
  std::vector<std::string> runs, against;
  std::string mode;
  double margin = 0.005;
  double bytes_per_token = 0;
  double headline = 0;
};

struct Side {
  std::vector<RunResult> runs;
  std::vector<double> bpb;
  Sample sample;
  std::optional<double> headline;
};

Result<Side> read_side(const std::vector<std::string>& items, const std::string& mode) {
  Side side;
  for (const std::string& item : items) {
    // "1.17,1.18" is a list of its own.
    for (const std::string& part : file_exists(item) ? std::vector{item} : split(item, ',')) {
      P5_TRY(auto results, read_run_results(part, mode));
      if (results.headline) side.headline = results.headline;
      std::move(results.runs.begin(), results.runs.end(), std::back_inserter(side.runs));
    }
  }
  for (const RunResult& run : side.runs) side.bpb.push_back(run.bpb);
  side.sample = describe_sample(side.bpb);
  return side;
}

// Second values in the order of the first, if both sides ran the same seeds once each.
std::optional<std::vector<double>> paired_by_seed(const Side& first, const Side& second) {
  if (first.runs.size() != second.runs.size()) return std::nullopt;
  std::map<std::int64_t, double> by_seed;
  for (const RunResult& run : second.runs)
    if (!run.seed || !by_seed.emplace(*run.seed, run.bpb).second) return std::nullopt;
  std::vector<double> values;
  for (const RunResult& run : first.runs) {
    const auto found = run.seed ? by_seed.find(*run.seed) : by_seed.end();
    if (found == by_seed.end()) return std::nullopt;
    values.push_back(found->second);
    by_seed.erase(found);
  }
  return values;
}

// One reading of the rule's "0.005": the unit, and what one bpb is in it.
struct Unit {
  std::string name;
  double per_bpb = 1;
};
std::vector<Unit> units_of(std::optional<double> bytes_per_token) {
  std::vector<Unit> units = {{"bpb", 1.0}, {"nats/byte", std::log(2.0)}};
  if (bytes_per_token) units.push_back({"nats/token", std::log(2.0) * *bytes_per_token});
  return units;
}

std::optional<double> bytes_per_token(const Options& options, const Side& a, const Side& b) {
  if (options.bytes_per_token > 0) return options.bytes_per_token;
  for (const Side* side : {&a, &b})
    for (const RunResult& run : side->runs)
      if (run.bytes_per_token) return run.bytes_per_token;
  return std::nullopt;
}

void warn_about_side(const std::string& name, const Side& side, double headline, std::vector<std::string>& warnings) {
  if (side.sample.n == 1) warnings.push_back(name + " is one value: its spread is unknown, the tests take it as exact");
  if (side.sample.n > 1 && side.sample.std == 0)
    warnings.push_back("all values of " + name + " are equal: copies of one run, or printed with too few digits");
  const auto settings = differing_settings(side.runs);
  if (!settings.empty())
    warnings.push_back("the configurations of " + name +
                       " differ, so these are not seeds of one configuration: " + join(settings, "; "));
  std::vector<std::string> modes;
  for (const RunResult& run : side.runs)
    if (!run.mode.empty() && std::find(modes.begin(), modes.end(), run.mode) == modes.end()) modes.push_back(run.mode);
  if (modes.size() > 1) warnings.push_back(name + " mixes evaluation modes: " + join(modes, ", "));
  if (headline > 0 && side.sample.n > 1 && side.sample.highest > side.sample.lowest &&
      std::fabs(headline - side.sample.lowest) < 5e-7)
    warnings.push_back("the headline " + shortest(headline) + " is the best seed, not the mean " +
                       fixed(side.sample.mean, 6));
  std::vector<std::int64_t> seeds;
  for (const RunResult& run : side.runs) {
    if (!run.seed) continue;
    if (std::find(seeds.begin(), seeds.end(), *run.seed) != seeds.end())
      warnings.push_back("seed " + std::to_string(*run.seed) + " stands twice in " + name);
    seeds.push_back(*run.seed);
  }
}

std::vector<std::string> warnings_of(const Side& a, const Side& b, double headline) {
  std::vector<std::string> warnings;
  warn_about_side("the first side", a, headline > 0 ? headline : a.headline.value_or(0), warnings);
  warn_about_side("the second side", b, b.headline.value_or(0), warnings);
  for (const RunResult& x : a.runs)
    for (const RunResult& y : b.runs) {
      if (!x.mode.empty() && !y.mode.empty() && x.mode != y.mode) {
        warnings.push_back("the sides were evaluated differently: " + x.mode + " against " + y.mode);
        return warnings;
      }
      if (x.targets && y.targets && *x.targets != *y.targets) {
        warnings.push_back("the sides scored different numbers of targets: " + grouped(*x.targets) + " against " +
                           grouped(*y.targets));
        return warnings;
      }
    }
  return warnings;
}

Json side_json(const Side& side) {
  Json object = {{"n", side.sample.n},
                 {"mean", side.sample.mean},
                 {"std", side.sample.n > 1 ? Json(side.sample.std) : Json(nullptr)},
                 {"lowest", side.sample.lowest},
                 {"highest", side.sample.highest}};
  for (const RunResult& run : side.runs) {
    Json entry = {{"source", run.source}, {"bpb", run.bpb}};
    entry["seed"] = run.seed ? Json(*run.seed) : Json(nullptr);
    entry["mode"] = run.mode.empty() ? Json(nullptr) : Json(run.mode);
    object["runs"].push_back(std::move(entry));
  }
  return object;
}

Json test_json(const std::optional<TTest>& test) {
  if (!test) return nullptr;
  return {{"t", std::isfinite(test->t) ? Json(test->t) : Json(nullptr)},
          {"degrees_of_freedom", test->degrees},
          {"p_two_sided", test->p_two_sided},
          {"p_one_sided", test->p_less}};
}

std::string p_text(double p) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, p < 1e-4 ? "%.1e" : "%.4f", p);
  return buffer;
}
std::string signed_text(double value, int digits = 6) { return (value < 0 ? "" : "+") + fixed(value, digits); }

std::string side_text(const std::string& name, const Side& side) {
  return pad_right(name, 9) + "n " + std::to_string(side.sample.n) + "   mean " + fixed(side.sample.mean, 6) +
         " bpb   std " + (side.sample.n > 1 ? fixed(side.sample.std, 6) + " (n - 1)" : "unknown") + "   " +
         fixed(side.sample.lowest, 6) + " … " + fixed(side.sample.highest, 6) + "\n";
}

// Whether a gain is shown at a level; unknown without a test.
std::string policy_text(const std::optional<TTest>& test, double level) {
  return !test ? "unknown" : test->p_less < level ? "holds" : "does not hold";
}
Json policy_json(const std::optional<TTest>& test, double level) {
  return test ? Json(test->p_less < level) : Json(nullptr);
}

Result<Outcome> run(const Options& options, const CommonOptions&) {
  P5_TRY(const Side a, read_side(options.runs, options.mode));
  P5_TRY(const Side b, read_side(options.against, options.mode));
  const auto units = units_of(bytes_per_token(options, a, b));
  const auto matched = paired_by_seed(a, b);
  const auto welch = welch_test(a.sample, b.sample);
  const auto paired = matched ? paired_test(a.bpb, *matched) : std::nullopt;
  const double difference = a.sample.mean - b.sample.mean;
  const auto warnings = warnings_of(a, b, options.headline);
  for (const std::string& warning : warnings) log_warning(warning);

  Outcome outcome;
  Json& report = outcome.report;
  report = side_json(a);
  report["against"] = side_json(b);
  report["unit"] = "bpb";
  report["difference"] = difference;
  report["p_value"] = welch ? Json(welch->p_two_sided) : Json(nullptr);
  report["half_width_95"] = welch ? Json(welch->half_width_95) : Json(nullptr);
  report["welch"] = test_json(welch);
  report["paired"] = test_json(paired);
  report["margin"] = options.margin;

  std::string& text = outcome.text;
  text = side_text("first", a) + side_text("against", b) + "\n";
  text += pad_right("difference", 22);
  for (const Unit& unit : units) text += signed_text(difference * unit.per_bpb) + " " + unit.name + "   ";
  text = std::string(trim(text)) +
         (welch ? "\n95 % interval         ±" + fixed(welch->half_width_95, 6) + " bpb\n" : "\n");
  const auto test_line = [&](const std::string& name, const std::optional<TTest>& test, const std::string& why) {
    text += pad_right(name, 22) +
            (test ? "t " + fixed(test->t, 3) + ", " + fixed(test->degrees, 2) + " degrees of freedom, p " +
                        p_text(test->p_two_sided) + " two-sided, " + p_text(test->p_less) + " that the first is lower\n"
                  : why + "\n");
  };
  test_line("Welch, against 0", welch, "unknown: no spread on either side");
  test_line("paired, against 0", paired,
            matched ? "unknown: fewer than two pairs" : "not made: the sides do not share their seeds");

  text += "\npolicies\n";
  std::vector<std::string> policies;
  for (const Unit& unit : units) {
    const double margin = -options.margin / unit.per_bpb;
    const auto against_margin = welch_test(a.sample, b.sample, margin);
    const auto paired_margin = matched ? paired_test(a.bpb, *matched, margin) : std::nullopt;
    report["margins"].push_back({{"unit", unit.name},
                                 {"margin", options.margin},
                                 {"margin_bpb", -margin},
                                 {"difference", difference * unit.per_bpb},
                                 {"welch", test_json(against_margin)},
                                 {"paired", test_json(paired_margin)},
                                 {"holds", policy_json(against_margin, kReadmeLevel)}});
    text += "  " + pad_right(policy_text(against_margin, kReadmeLevel), 15) + "better by " + shortest(options.margin) +
            " " + unit.name + (unit.per_bpb == 1 ? "" : " (" + fixed(-margin, 5) + " bpb)") + " at p < 0.01" +
            (against_margin ? ": one-sided Welch p " + p_text(against_margin->p_less) : "") +
            (paired_margin ? ", paired p " + p_text(paired_margin->p_less) : "") + "\n";
  }
  report["frontier"] = {{"level", kFrontierLevel},
                        {"p_value", welch ? Json(welch->p_less) : Json(nullptr)},
                        {"holds", policy_json(welch, kFrontierLevel)}};
  text += "  " + pad_right(policy_text(welch, kFrontierLevel), 15) +
          "better than the frontier at p < 0.25 (later practice)" +
          (welch ? ": one-sided Welch p " + p_text(welch->p_less) : "") + "\n";
  if (units.size() < 3) text += "\nnats/token needs the bytes of a token: name eval reports, or --bytes-per-token\n";
  report["warnings"] = warnings;
  return outcome;
}

}  // namespace

Command compare_command() {
  return {
      "compare", "Test whether runs differ: Welch and paired, against 0 and against a rule's margin",
      "  par5 compare runs/a-1 runs/a-2 runs/a-3 --against runs/b-1 runs/b-2 runs/b-3\n"
      "  par5 compare 1.1621 1.1627 1.1634 --against 1.1698,1.1702,1.1711 --bytes-per-token 4.0671\n"
      "  par5 compare new/submission.json --against old/submission.json --json\n\n"
      "Items are bpb numbers, eval reports (par5 eval … --json), submission.json files and run folders. The rule asks "
      "for a\n"
      "gain of 0.005 without naming the unit; every reading is tested. Lower bpb is better.",
      [](CLI::App& app) -> Runner {
        auto options = std::make_shared<Options>();
        app.add_option("runs", options->runs, "Runs, files or bpb numbers")->required();
        app.add_option("--against", options->against, "What they are compared with")->required();
        app.add_option("--mode", options->mode, "Row of eval reports that counts, e.g. sliding (default: the first)");
        app.add_option("--margin", options->margin, "Gain that the rule asks for, in each unit")
            ->check(CLI::NonNegativeNumber)
            ->capture_default_str();
        app.add_option("--bytes-per-token", options->bytes_per_token, "Charged bytes per token, for nats per token")
            ->check(CLI::PositiveNumber);
        app.add_option("--headline", options->headline, "bpb that the first side claims: warns if it is the best seed")
            ->check(CLI::PositiveNumber);
        return [options](const CommonOptions& common) { return run(*options, common); };
      }};
}

}  // namespace par5
