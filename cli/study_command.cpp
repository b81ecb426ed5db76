#include <cmath>
#include <map>
#include <random>

#include "budgets/weights_file.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "core/cancel.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/progress.h"
#include "core/tensor_pieces.h"
#include "core/text.h"
#include "pack/levels.h"
#include "pack/quantization_study.h"
#include "report/chart.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string file;
  bool synthetic = false;
  std::vector<std::int64_t> groups = {128};
  bool by_kind = false;
  std::string plot;
};

struct Matrix {
  std::string name, kind;
  std::function<Result<Tensor>()> read;  // float32, two-dimensional
};

Result<Tensor> as_matrix(const WeightsEntry& entry) {
  P5_TRY(const HeldTensor held, entry.read());
  P5_TRY(const auto values, to_floats(held.view()));
  const Shape& shape = held.view().shape;
  return Tensor::from_floats(entry.name, {shape[0], element_count(shape) / shape[0]}, values);
}

Result<std::vector<Matrix>> matrices_of(const std::string& path, std::size_t threads) {
  P5_TRY(auto opened, open_weights(path, threads));
  const auto file = std::make_shared<WeightsFile>(std::move(opened));
  std::vector<Matrix> matrices;
  for (const WeightsEntry& entry : file->tensors) {
    P5_TRY(const HeldTensor held, entry.read());
    const TensorView& view = held.view();
    if (view.shape.size() < 2 || entry.weights == 0 || !is_floating_point(view.dtype)) continue;
    matrices.push_back({entry.name, layer_kind(entry.name), [file, &entry] { return as_matrix(entry); }});
  }
  if (matrices.empty()) return bad_data("'" + path + "' holds no matrix of floating-point weights", path);
  return matrices;
}

// Seeded draws of four distributions with variance 1, [512, 1536] each.
std::vector<Matrix> synthetic_matrices() {
  constexpr std::int64_t kRows = 512, kColumns = 1536;
  const auto made = [](const std::string& name, auto draw) {
    return Matrix{name, name, [name, draw]() -> Result<Tensor> {
                    std::mt19937_64 generator(2026);
                    std::vector<float> values(static_cast<std::size_t>(kRows * kColumns));
                    // Uniform in (0, 1): the library's distributions differ from one standard library to another.
                    const auto uniform = [&] { return (static_cast<double>(generator() >> 11) + 0.5) * 0x1p-53; };
                    for (float& value : values) value = static_cast<float>(draw(uniform));
                    return Tensor::from_floats(name, {kRows, kColumns}, values);
                  }};
  };
  const auto normal = [](auto& uniform) {
    return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * std::acos(-1.0) * uniform());
  };
  return {made("gaussian", normal),
          made("laplace",
               [](auto& uniform) {
                 const double u = uniform() - 0.5;
                 return std::copysign(std::log(1 - 2 * std::fabs(u)), -u) / -std::sqrt(2.0);
               }),
          made("student-5",
               [normal](auto& uniform) {
                 double squares = 0;
                 for (int i = 0; i < 5; ++i) squares += std::pow(normal(uniform), 2);
                 return normal(uniform) / std::sqrt(squares / 5) * std::sqrt(3.0 / 5);
               }),
          made("uniform", [](auto& uniform) { return std::sqrt(12.0) * (uniform() - 0.5); })};
}

using Study = std::map<std::string, std::vector<StudyResult>>;  // by kind, in the order of the settings

Result<Study> run_study(const std::vector<Matrix>& matrices, const std::vector<StudySetting>& settings,
                        std::size_t threads) {
  Study study;
  Progress progress("study", matrices.size(), "tensors");
  for (std::size_t m = 0; m < matrices.size(); ++m) {
    if (cancelled()) return interrupted();
    P5_TRY(const Tensor matrix, matrices[m].read());
    P5_TRY(const auto weights, to_floats(matrix.view()));
    std::vector<Result<StudyResult>> results(settings.size(), internal_error("not studied"));
    parallel_for(settings.size(), threads, [&](std::size_t i) {
      results[i] = study_tensor(matrices[m].name, static_cast<std::size_t>(matrix.shape[0]),
                                static_cast<std::size_t>(matrix.shape[1]), weights, settings[i]);
    });
    auto& kind = study[matrices[m].kind];
    kind.resize(settings.size());
    for (std::size_t i = 0; i < settings.size(); ++i) {
      if (!results[i]) return tl::unexpected(results[i].error());
      kind[i].add(*results[i]);
    }
    progress.update(m + 1);
  }
  return study;
}

std::vector<StudyResult> together(const Study& study, std::size_t settings) {
  std::vector<StudyResult> all(settings);
  for (const auto& [kind, results] : study)
    for (std::size_t i = 0; i < settings; ++i) all[i].add(results[i]);
  return all;
}

std::string scale_name(const StudySetting& setting) {
  return setting.granularity == Granularity::tensor ? "tensor"
         : setting.granularity == Granularity::row  ? "row"
                                                    : "group " + std::to_string(setting.group);
}

std::string scientific(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.3e", value);
  return buffer;
}

std::string table(const std::string& title, const std::vector<StudySetting>& settings,
                  const std::vector<StudyResult>& results) {
  std::string text = title + ", " + grouped(results.front().weights) +
                     " weights\nscale                grid              mse    cosine   SNR dB  entropy     bits  "
                     "dB/bit  packed bytes\n";
  for (std::size_t i = 0; i < settings.size(); ++i) {
    const StudyResult& r = results[i];
    text += pad_right(std::string(scale_rule_name(settings[i].rule)) + " " + scale_name(settings[i]), 20) + " " +
            pad_right(std::string(grid_name(settings[i].grid)), 10) + pad_left(scientific(r.mse()), 11) +
            pad_left(fixed(r.cosine(), 6), 10) + pad_left(fixed(r.snr_db(), 2), 9) +
            pad_left(fixed(r.entropy_per_weight(), 3), 9) + pad_left(fixed(r.bits_per_weight(), 3), 9) +
            pad_left(fixed(r.db_per_bit(), 2), 8) + pad_left(fixed(r.packed_bytes_per_weight(), 4), 14) + "\n";
  }
  return text + "\n";
}

Json number_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json rows_json(const std::vector<StudySetting>& settings, const std::vector<StudyResult>& results) {
  Json rows = Json::array();
  for (std::size_t i = 0; i < settings.size(); ++i) {
    const StudyResult& r = results[i];
    rows.push_back({{"grid", grid_name(settings[i].grid)},
                    {"rule", scale_rule_name(settings[i].rule)},
                    {"scale", scale_name(settings[i])},
                    {"mse", r.mse()},
                    {"cosine", r.cosine()},
                    {"snr_db", number_or_null(r.snr_db())},
                    {"entropy_bits", r.entropy_per_weight()},
                    {"bits_per_weight", r.bits_per_weight()},
                    {"db_per_bit", number_or_null(r.db_per_bit())},
                    {"packed_bytes_per_weight", r.packed_bytes_per_weight()}});
  }
  return rows;
}

// Signal-to-noise ratio over bits, a curve for each rule and granularity.
std::string plot(const std::vector<StudySetting>& settings, const std::vector<StudyResult>& results) {
  LineChart chart{"Signal-to-noise ratio over bits a weight",
                  "",
                  "bits a weight: entropy of the codes and 16-bit scales",
                  "SNR, dB",
                  {}};
  chart.legend = true;
  std::map<std::string, std::size_t> curves;
  for (std::size_t i = 0; i < settings.size(); ++i) {
    const std::string name = std::string(scale_rule_name(settings[i].rule)) + ", " + scale_name(settings[i]);
    const auto [found, fresh] = curves.emplace(name, chart.curves.size());
    if (fresh) chart.curves.push_back({name, {}, true});
    const double x = results[i].bits_per_weight(), y = results[i].snr_db();
    if (std::isfinite(y)) chart.curves[found->second].points.push_back({x, y, y, y});
  }
  chart.description = "One point for each grid, binary to int8";
  return standalone(draw(chart));
}

Result<Outcome> run(const Options& options, const CommonOptions& common) {
  if (options.synthetic != options.file.empty()) return usage_error("name a file of weights, or --synthetic");
  if (!options.plot.empty()) P5_OK(check_output(options.plot, common.overwrite()));
  std::vector<Matrix> matrices;
  if (options.synthetic) {
    matrices = synthetic_matrices();
  } else {
    P5_TRY(matrices, matrices_of(options.file, common.threads));
  }
  const auto settings = study_settings(options.groups);
  P5_TRY(const Study study, run_study(matrices, settings, common.threads));
  const auto all = together(study, settings.size());
  Outcome outcome;
  const std::string source = options.synthetic ? "synthetic" : options.file;
  outcome.text = table(source, settings, all);
  outcome.report["source"] = source;
  outcome.report["weights"] = all.front().weights;
  outcome.report["rows"] = rows_json(settings, all);
  for (const auto& [kind, results] : study) {
    if (options.by_kind) outcome.text += table(kind, settings, results);
    outcome.report["kinds"].push_back(
        {{"kind", kind}, {"weights", results.front().weights}, {"rows", rows_json(settings, results)}});
  }
  if (!options.plot.empty()) {
    P5_OK(write_file(options.plot, plot(settings, all), common.overwrite()));
    log_info("wrote " + options.plot);
  }
  return outcome;
}

}  // namespace

Command study_command() {
  return {"study", "Measure what grids and scales cost on given weights",
          "  par5 study quantise model.safetensors\n  par5 study quantise --synthetic --group 64 --group 128 "
          "--by-kind\n  par5 study quantise model.safetensors --plot study.svg --json",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<Options>();
            app.require_subcommand(1);
            CLI::App* quantise = app.add_subcommand(
                "quantise",
                "Error against bits for binary … int8, absmean and absmax, one scale for a tensor, row or group");
            quantise->alias("quantize");
            quantise->add_option("file", options->file, "Weights: .safetensors, its index .json, .par5, .pt or .bin");
            quantise->add_flag("--synthetic", options->synthetic,
                               "Seeded Gaussian, Laplace, Student and uniform weights instead of a file");
            quantise->add_option("--group", options->groups, "Group sizes to try")
                ->check(CLI::Range(1, 1 << 20))
                ->capture_default_str();
            quantise->add_flag("--by-kind", options->by_kind, "A table for each kind of layer too");
            quantise->add_option("--plot", options->plot, "SVG to write: signal-to-noise ratio over bits");
            return [options](const CommonOptions& common) { return run(*options, common); };
          }};
}

}  // namespace par5
