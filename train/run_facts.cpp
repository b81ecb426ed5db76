#include "train/run_facts.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/hash.h"
#include "model/runtime.h"

namespace par5 {

using Json = nlohmann::ordered_json;

Result<std::string> run_facts(const TrainRequest& request, const PrecisionChoice& precision, const ShardReader& shards,
                              const std::optional<ShardReader>& validation) {
  P5_TRY(const std::string program_sha256, sha256_hex_of_file("/proc/self/exe"));
  const RuntimeDescription runtime = describe_runtime();
  Json facts = {{"schema", 1}, {"version", request.version}, {"program_sha256", program_sha256}};
  facts["libtorch"] = runtime.libtorch_version;
  facts["cpu_capability"] = runtime.cpu_capability;
  facts["device"] = request.device.str();
  facts["threads"] = runtime.threads;
  const auto rate = [&](double ProductRates::*type) {
    return precision.rates ? Json((*precision.rates).*type) : Json(nullptr);
  };
  facts["precision"] = {{"used", precision_name(precision.used)},
                        {"muon_products", precision.muon_products == MuonProducts::int16 ? "int16" : "float"},
                        {"float32_flops_per_second", rate(&ProductRates::float32)},
                        {"bfloat16_flops_per_second", rate(&ProductRates::bfloat16)}};
  facts["seed"] = request.config.values().train.seed;
  const auto describe = [](const std::string& folder, const ShardReader& reader) {
    return Json{{"folder", folder},
                {"tokens", reader.tokens()},
                {"documents", reader.manifest().documents},
                {"bytes", reader.manifest().bytes},
                {"sha256", reader.content_sha256()}};
  };
  facts["data"] = describe(request.data, shards);
  facts["validation"] = validation ? describe(request.validation, *validation) : Json(nullptr);
  facts["tokenizer_sha256"] = shards.manifest().tokenizer_sha256;
  facts["replay"] = request.replay.empty() ? Json(nullptr) : Json(request.replay);
  return facts.dump(2);
}

Status write_facts(const RunFolder& folder, const std::string& text, bool resume) {
  Json facts = Json::parse(text);
  Json sessions = Json::array();
  if (resume && file_exists(folder.facts())) {
    P5_TRY(const std::string earlier_text, read_text_file(folder.facts()));
    const Json earlier = Json::parse(earlier_text, nullptr, false);
    if (earlier.is_object()) {
      if (earlier.contains("earlier_sessions")) sessions = earlier["earlier_sessions"];
      Json last = earlier;
      last.erase("earlier_sessions");
      sessions.push_back(std::move(last));
    }
  }
  facts["earlier_sessions"] = std::move(sessions);
  return write_file(folder.facts(), facts.dump(2) + "\n", Overwrite::yes);
}

Status copy_tokenizer(const std::string& data, const RunFolder& folder) {
  const std::string source = join_path(data, "tokenizer.model");
  if (!file_exists(source)) return {};
  P5_TRY(const auto bytes, read_file(source));
  return write_file(folder.tokenizer(), bytes, Overwrite::yes);
}

}  // namespace par5
