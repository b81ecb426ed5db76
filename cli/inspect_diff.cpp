#include "cli/inspect_diff.h"

#include <map>

#include "archive/artifact.h"
#include "cli/artifact_text.h"
#include "core/text.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

struct TensorDifference {
  std::uint64_t first_bytes = 0, second_bytes = 0;  // of all its streams
  std::string first_coding, second_coding;          // "own chain0, own chain0"
  bool in_first = false, in_second = false;
  // Of the decoded values; nothing where the shapes differ.
  std::optional<std::uint64_t> changed_values;
  std::uint64_t values = 0;
};

std::uint64_t changed_values(const StoredTensor& a, const StoredTensor& b, std::size_t threads) {
  const std::vector<float> first = a.values(threads), second = b.values(threads);
  std::uint64_t changed = 0;
  for (std::size_t i = 0; i < first.size(); ++i) changed += first[i] != second[i] ? 1 : 0;
  return changed;
}

// By name, so that artifacts of different models can be compared too; in the order of the first one.
std::vector<std::pair<std::string, TensorDifference>> compare_tensors(const DecodedArtifact& a,
                                                                      const DecodedArtifact& b, std::size_t threads) {
  std::vector<std::pair<std::string, TensorDifference>> list;
  std::map<std::string, std::size_t> places;
  const auto describe = [](const TensorReport& tensor, std::uint64_t& bytes, std::string& coding) {
    for (const StreamReport& stream : tensor.streams) {
      bytes += stream.stored_bytes;
      coding += (coding.empty() ? "" : ", ") + stream.codec + " " + stream.layout;
    }
  };
  for (const TensorReport& tensor : a.report.tensors) {
    places[tensor.name] = list.size();
    list.emplace_back(tensor.name, TensorDifference{});
    describe(tensor, list.back().second.first_bytes, list.back().second.first_coding);
    list.back().second.in_first = true;
  }
  for (const TensorReport& tensor : b.report.tensors) {
    const auto [place, is_new] = places.try_emplace(tensor.name, list.size());
    if (is_new) list.emplace_back(tensor.name, TensorDifference{});
    TensorDifference& difference = list[place->second].second;
    describe(tensor, difference.second_bytes, difference.second_coding);
    difference.in_second = true;
    if (is_new) continue;
    const StoredTensor &first = *a.artifact.model.find(tensor.name), &second = *b.artifact.model.find(tensor.name);
    if (first.spec.shape != second.spec.shape) continue;
    difference.values = static_cast<std::uint64_t>(element_count(first.spec.shape));
    difference.changed_values = changed_values(first, second, threads);
  }
  return list;
}

std::string signed_column(std::int64_t value, std::size_t width) {
  const std::string text = (value > 0 ? "+" : "") + grouped(value);
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

}  // namespace

Result<Outcome> inspect_difference(const std::string& first, const std::string& second, const CommonOptions& common) {
  P5_TRY(const DecodedArtifact a, read_artifact(first, common.threads));
  P5_TRY(const DecodedArtifact b, read_artifact(second, common.threads));
  Outcome outcome;
  Json& json = outcome.report;
  std::string& text = outcome.text;
  const auto header = [&](const std::string& what) {
    text += "         first        second    difference  " + what + "\n";
  };
  const auto line = [&](std::uint64_t x, std::uint64_t y, const std::string& what) {
    text += byte_column(x) + byte_column(y) +
            signed_column(static_cast<std::int64_t>(y) - static_cast<std::int64_t>(x), 14) + "  " + what + "\n";
  };
  header("bytes of");
  Json first_sizes, second_sizes;
  add_size_keys(first_sizes, a.report);
  add_size_keys(second_sizes, b.report);
  for (const auto& [key, value] : first_sizes.items()) {
    const auto x = value.get<std::uint64_t>(), y = second_sizes[key].get<std::uint64_t>();
    json[key] = {x, y};
    line(x, y, key);
  }
  json["same_model"] = same_artifact(a.artifact, b.artifact);

  json["config"] = Json::object();
  const Json first_config = config_json(a.artifact.model), second_config = config_json(b.artifact.model);
  for (const auto& [key, value] : first_config.items()) {
    if (value == second_config[key]) continue;
    json["config"][key] = {value, second_config[key]};
    text += key + ": " + value.dump() + " → " + second_config[key].dump() + "\n";
  }

  header("tensor");
  json["tensors"] = Json::array();
  for (const auto& [name, tensor] : compare_tensors(a, b, common.threads)) {
    json["tensors"].push_back(
        {{"name", name},
         {"stored_bytes", {tensor.first_bytes, tensor.second_bytes}},
         {"coding", {tensor.first_coding, tensor.second_coding}},
         {"values", tensor.values},
         {"changed_values", tensor.changed_values ? Json(*tensor.changed_values) : Json(nullptr)}});
    std::string what = name;
    if (!tensor.in_first || !tensor.in_second)
      what += tensor.in_first ? " (only in the first)" : " (only in the second)";
    else if (!tensor.changed_values)
      what += " (another shape)";
    else if (*tensor.changed_values > 0)
      what += ", " + grouped(static_cast<std::int64_t>(*tensor.changed_values)) + " of " +
              grouped(static_cast<std::int64_t>(tensor.values)) + " values differ";
    if (tensor.in_first && tensor.in_second && tensor.first_coding != tensor.second_coding)
      what += "; " + tensor.first_coding + " → " + tensor.second_coding;
    line(tensor.first_bytes, tensor.second_bytes, what);
  }
  text += json["same_model"].get<bool>() ? "both hold the same model, bit for bit\n"
                                         : "they hold different models or facts\n";
  return outcome;
}

}  // namespace par5
