#include "train/precision.h"

#include <nlohmann/json.hpp>
#include <string>

#include "core/log.h"
#include "core/text.h"
#include "model/integer_kernels.h"

namespace par5 {
namespace {

// Less than this is lost on conversions and rounding.
constexpr double kWorthwhile = 1.1;

Result<Precision> recorded_precision(const std::string& run_folder) {
  const std::string path = join_path(run_folder, "run.json");
  P5_TRY(const std::string text, read_text_file(path));
  const auto facts = nlohmann::json::parse(text, nullptr, false);
  if (facts.is_object() && facts.contains("precision") && facts["precision"].is_object())
    for (const Precision precision : {Precision::float32, Precision::bfloat16, Precision::int8})
      if (facts["precision"].value("used", "") == precision_name(precision)) return precision;
  return bad_data(
      "'" + path +
          "' does not record the type of its matrix products; give --set train.precision=float32, bfloat16 or int8",
      path, std::nullopt, "precision.used");
}

}  // namespace

const char* precision_name(Precision precision) {
  if (precision == Precision::int8) return "int8";
  return precision == Precision::bfloat16 ? "bfloat16" : "float32";
}

Result<PrecisionChoice> choose_precision(const TrainRequest& request) {
  PrecisionChoice choice;
  choice.used = request.config.values().train.precision;
  choice.muon_products = request.config.values().optimizer.muon_products;
  const bool integers = request.device.is_cpu() && kernels::has_fast_integer_products();
  if (choice.used == Precision::int8 && !integers) {
    log_warning("train.precision = \"int8\" needs a CPU with AVX-512 VNNI; training in float32");
    choice.used = Precision::float32;
  }
  if (choice.muon_products == MuonProducts::int16 && !integers) {
    log_warning("optimizer.muon_products = \"int16\" needs a CPU with AVX-512 VNNI; Muon's products are in floats");
    choice.muon_products = MuonProducts::floating;
  }
  if (choice.used != Precision::automatic) return choice;
  if (request.resume || !request.replay.empty()) {
    P5_TRY(choice.used, recorded_precision(request.resume ? request.run_folder : request.replay));
    return choice;
  }
  choice.rates = measure_product_rates(request.config.values().model, request.device);
  choice.used =
      choice.rates->bfloat16 >= kWorthwhile * choice.rates->float32 ? Precision::bfloat16 : Precision::float32;
  const auto shown = [](double rate) { return fixed(rate * 1e-9, 0); };
  log_info("matrix products: " + shown(choice.rates->float32) + " GFLOP/s in float32, " +
           shown(choice.rates->bfloat16) + " in bfloat16; training in " + precision_name(choice.used));
  return choice;
}

}  // namespace par5
