// train.precision = "auto": measured once, recorded, and kept by whatever continues or repeats the run.
#include "train/precision.h"

#include "core/safetensors.h"
#include "model/integer_kernels.h"
#include "tests/train/trainer_fixture.h"

namespace par5 {
namespace {

class PrecisionTest : public TrainerTest {
 protected:
  TrainRequest automatic(const std::string& run, const std::vector<std::string>& changes = {}) {
    std::vector<std::string> all = {"train.precision=auto"};
    all.insert(all.end(), changes.begin(), changes.end());
    return request(run, all);
  }
  static Json facts(const TrainRequest& run) { return Json::parse(bytes(run, "run.json")); }
  static void record(const TrainRequest& run, const Json& precision) {
    Json changed = facts(run);
    changed["precision"] = precision;
    ASSERT_TRUE(write_file(join_path(run.run_folder, "run.json"), changed.dump(), Overwrite::yes));
  }
  // Without the configuration in the metadata.
  static std::vector<std::vector<float>> weights(const TrainRequest& run) {
    const auto file = SafetensorsFile::open(join_path(run.run_folder, "model.safetensors")).value();
    std::vector<std::vector<float>> values;
    for (const TensorView& tensor : file.tensors()) values.push_back(to_floats(tensor).value());
    return values;
  }
  static std::string other(const std::string& precision) { return precision == "float32" ? "bfloat16" : "float32"; }
};

TEST_F(PrecisionTest, IsMeasuredAndRecorded) {
  EXPECT_EQ(LoadedConfig().values().train.precision, Precision::automatic);
  const TrainRequest run = automatic("run", {"train.steps=2"});
  ASSERT_TRUE(train(run));
  const Json precision = facts(run)["precision"];
  const double wide = precision["float32_flops_per_second"].get<double>(),
               narrow = precision["bfloat16_flops_per_second"].get<double>();
  EXPECT_GT(wide, 0);
  EXPECT_GT(narrow, 0);
  EXPECT_EQ(precision["used"], narrow >= 1.1 * wide ? "bfloat16" : "float32");
  // The choice is all that differs from a run that was told.
  TrainRequest told = request("told", {"train.steps=2", "train.precision=" + precision["used"].get<std::string>()});
  ASSERT_TRUE(train(told));
  EXPECT_EQ(facts(told)["precision"]["used"], precision["used"]);
  EXPECT_TRUE(facts(told)["precision"]["float32_flops_per_second"].is_null());
  TrainRequest mistold =
      request("mistold", {"train.steps=2", "train.precision=" + other(precision["used"].get<std::string>())});
  ASSERT_TRUE(train(mistold));
  EXPECT_EQ(weights(told), weights(run));
  EXPECT_NE(weights(mistold), weights(run));
}

// In integers where the CPU has the instructions: other bits, hardly another loss, the same run every time.
TEST_F(PrecisionTest, IntegersTrainAlmostAsFloat32) {
  const auto loss = [&](const std::string& name, const std::string& type) {
    return train(request(name, {"train.precision=" + type})).value().final_loss;
  };
  const double exact = loss("exact", "float32"), rounded = loss("rounded", "int8");
  EXPECT_NEAR(rounded, exact, 0.01 * exact);
  EXPECT_EQ(loss("again", "int8"), rounded);
  EXPECT_EQ(weights(request("again")), weights(request("rounded")));
  const bool fast = kernels::has_fast_integer_products();
  EXPECT_EQ(facts(request("rounded"))["precision"]["used"], fast ? "int8" : "float32");
  EXPECT_EQ(rounded != exact, fast);
}

TEST_F(PrecisionTest, MuonInIntegersTrainsAsInFloats) {
  const auto loss = [&](const std::string& name, const std::string& products) {
    return train(request(name, {"train.precision=float32", "optimizer.muon_products=" + products})).value().final_loss;
  };
  const double exact = loss("exact", "float"), rounded = loss("rounded", "int16");
  EXPECT_NEAR(rounded, exact, 1e-3 * exact);
  EXPECT_EQ(loss("again", "int16"), rounded);
  EXPECT_EQ(weights(request("again")), weights(request("rounded")));
  const bool fast = kernels::has_fast_integer_products();
  EXPECT_EQ(facts(request("exact"))["precision"]["muon_products"], "float");
  EXPECT_EQ(facts(request("rounded"))["precision"]["muon_products"], fast ? "int16" : "float");
  EXPECT_EQ(weights(request("rounded")) != weights(request("exact")), fast);
}

// As if the run had begun on a machine that chose otherwise.
TEST_F(PrecisionTest, ResumedAndReplayedRunsKeepWhatWasRecorded) {
  TrainRequest straight = request("straight", {"train.precision=bfloat16"});
  ASSERT_TRUE(train(straight));
  TrainRequest halves = request("halves", {"train.precision=bfloat16"});
  halves.stop = stop_after(13);
  ASSERT_FALSE(train(halves));
  EXPECT_EQ(facts(halves)["precision"]["used"], "bfloat16");
  TrainRequest rest = automatic("halves");
  rest.resume = true;
  ASSERT_TRUE(train(rest));
  EXPECT_EQ(weights(rest), weights(straight));
  EXPECT_EQ(facts(rest)["precision"]["used"], "bfloat16");

  TrainRequest again = automatic("again");
  again.replay = straight.run_folder;
  ASSERT_TRUE(train(again));
  EXPECT_EQ(weights(again), weights(straight));
  record(straight, {{"used", "float32"}});
  TrainRequest wide = automatic("wide");
  wide.replay = straight.run_folder;
  ASSERT_TRUE(train(wide));
  EXPECT_NE(weights(wide), weights(straight));

  for (const Json& nothing : {Json(nullptr), Json::object(), Json({{"used", "auto"}})}) {
    record(straight, nothing);
    TrainRequest lost = automatic("lost");
    lost.replay = straight.run_folder;
    const auto report = train(lost);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, ErrorCode::bad_data);
    EXPECT_NE(report.error().message.find("--set train.precision"), std::string::npos);
  }
}

}  // namespace
}  // namespace par5
