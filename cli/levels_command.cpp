#include <algorithm>

#include "budgets/weights_file.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "core/cancel.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/progress.h"
#include "core/text.h"
#include "pack/levels.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::vector<std::string> files;
  bool all = false;
};

struct FileLevels {
  std::string path;
  std::string format;
  std::vector<TensorLevels> tensors;
};

// Large tensors are counted by all threads together, the others side by side.
Result<FileLevels> examine(const std::string& path, const CommonOptions& common) {
  P5_TRY(const WeightsFile file, open_weights(path, common.threads));
  for (const std::string& note : file.notes) log_warning(path + ": " + note);
  std::int64_t total = 0;
  for (const WeightsEntry& entry : file.tensors) total += entry.weights;
  Progress progress("levels of " + file_name(path), static_cast<std::uint64_t>(total), "weights");
  std::vector<Result<TensorLevels>> found(file.tensors.size(), internal_error("not examined"));
  std::atomic<std::uint64_t> done{0};
  const auto examine_one = [&](std::size_t i, std::size_t threads) {
    if (cancelled()) {
      found[i] = interrupted();
      return;
    }
    const auto tensor = file.tensors[i].read();
    found[i] = tensor ? find_levels(tensor->view(), threads) : Result<TensorLevels>(tl::unexpected(tensor.error()));
    done += static_cast<std::uint64_t>(file.tensors[i].weights);
  };
  std::vector<std::size_t> small;
  for (std::size_t i = 0; i < file.tensors.size(); ++i) {
    if (file.tensors[i].weights < total / 8) {
      small.push_back(i);
    } else {
      examine_one(i, common.threads);
      progress.update(done);
    }
  }
  parallel_for(small.size(), common.threads, [&](std::size_t i) { examine_one(small[i], 1); });
  FileLevels levels{path, file.format, {}};
  for (auto& tensor : found) {
    if (!tensor) return tl::unexpected(std::move(tensor.error().in_file(path)));
    levels.tensors.push_back(std::move(*tensor));
  }
  return levels;
}

std::string_view granularity_name(Granularity granularity) {
  return granularity == Granularity::tensor ? "tensor" : granularity == Granularity::row ? "row" : "group";
}

std::string percent(double share) { return fixed(100 * share, 2) + " %"; }

std::string scale_text(const LevelsFinding& finding) {
  if (finding.granularity == Granularity::group) return "groups of " + grouped(finding.group);
  return finding.granularity == Granularity::row ? "each row" : "the tensor";
}

std::string table(const std::vector<FileLevels>& files, const std::vector<TensorLevels>& together, bool all) {
  std::string text;
  for (const FileLevels& file : files) {
    std::size_t width = 6;
    for (const TensorLevels& tensor : file.tensors) width = std::max(width, tensor.name.size());
    text += file.path + " (" + file.format + ")\n" + pad_right("tensor", width) + "  " + pad_left("weights", 13) +
            "  grid        one scale for        share\n";
    std::size_t hidden = 0;
    for (const TensorLevels& tensor : file.tensors) {
      if (!tensor.finding && !all && file.tensors.size() > 40) {
        ++hidden;
        continue;
      }
      text += pad_right(tensor.name, width) + "  " + pad_left(grouped(tensor.weights), 13) + "  ";
      text += tensor.finding ? pad_right(std::string(grid_name(tensor.finding->grid)), 12) +
                                   pad_right(scale_text(*tensor.finding), 16) + pad_left(percent(tensor.share()), 10)
                             : std::string(tensor.constant ? "constant" : "none");
      text += tensor.not_finite ? "  (" + grouped(tensor.not_finite) + " not finite)\n" : "\n";
    }
    if (hidden) text += "and " + std::to_string(hidden) + " tensors on no grid (--all lists them)\n";
    text += "\n";
  }
  text += grouped(counted_weights(together)) + " weights in all; on a grid, or on one inside it:\n";
  for (const GridShare& share : grid_shares(together))
    text += "  " + pad_right(std::string(grid_name(share.grid)), 10) + pad_left(grouped(share.weights), 15) +
            pad_left(percent(share.share), 10) + "\n";
  return text;
}

Json shares_json(const std::vector<TensorLevels>& tensors) {
  Json shares = Json::object();
  for (const GridShare& share : grid_shares(tensors)) shares[std::string(grid_name(share.grid))] = share.share;
  return shares;
}

Result<Outcome> run(const Options& options, const CommonOptions& common) {
  std::vector<FileLevels> files;
  std::vector<TensorLevels> together;
  for (const std::string& path : options.files) {
    P5_TRY(auto file, examine(path, common));
    together.insert(together.end(), file.tensors.begin(), file.tensors.end());
    files.push_back(std::move(file));
  }
  Outcome outcome;
  outcome.text = table(files, together, options.all);
  outcome.report["weights"] = counted_weights(together);
  outcome.report["tensors"] = Json::array();
  outcome.report["files"] = Json::array();
  for (const FileLevels& file : files) {
    for (const TensorLevels& tensor : file.tensors) {
      Json row = {{"name", tensor.name},
                  {"file", file.path},
                  {"dtype", dtype_name(tensor.dtype)},
                  {"shape", tensor.shape},
                  {"weights", tensor.weights}};
      row["grid"] = tensor.finding ? Json(grid_name(tensor.finding->grid)) : Json(nullptr);
      row["granularity"] = tensor.finding ? Json(granularity_name(tensor.finding->granularity)) : Json(nullptr);
      row["group"] = tensor.finding ? Json(tensor.finding->group) : Json(nullptr);
      row["share"] = tensor.share();
      row["constant"] = tensor.constant;
      row["not_finite"] = tensor.not_finite;
      outcome.report["tensors"].push_back(std::move(row));
    }
    outcome.report["files"].push_back({{"file", file.path},
                                       {"format", file.format},
                                       {"weights", counted_weights(file.tensors)},
                                       {"share", shares_json(file.tensors)}});
  }
  outcome.report["share"] = shares_json(together);
  return outcome;
}

}  // namespace

Command levels_command() {
  return {"levels", "Find the grid of levels on which a file's weights lie",
          "  par5 levels model.safetensors\n  par5 levels model.safetensors.index.json --all\n  par5 levels "
          "runs/one/model.par5 pytorch_model.bin --json\n\n"
          "A weight w is on a grid of scale a if w / a is within 0.001 of a level (bf16 and fp16: plus half a unit in "
          "the last\n"
          "place of w). Each tensor is given the cheapest grid and scale that explain more than chance would.",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<Options>();
            app.add_option(
                   "files", options->files,
                   "Weights: .safetensors, its index .json, .par5, .pt or .bin (read, never run), or a folder of one")
                ->required();
            app.add_flag("--all", options->all, "List tensors on no grid too, however many there are");
            return [options](const CommonOptions& common) { return run(*options, common); };
          }};
}

}  // namespace par5
