// What the shared, really trained checkpoint scores, beside the figure that an independent program measured for it.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "core/file.h"
#include "core/safetensors.h"
#include "tests/engine/test_models.h"
#include "tokenizer/text_source.h"
#include "tokenizer/tokenizer.h"

namespace par5 {
namespace {

std::string shared_folder() {
  const char* named = std::getenv("PAR5_SHARED");
  return named ? named : PAR5_SOURCE_DIR "/../shared";
}

constexpr std::size_t kTargets = 32768, kWindow = 512;

// BOS and the ids of each document, up to kTargets + 1 of them, and the charged bytes of all but the first.
struct Text {
  std::vector<std::uint16_t> ids;
  std::uint64_t bytes = 0;
};

Text validation_text() {
  const Tokenizer tokenizer = Tokenizer::load(shared_folder() + "/data/tokenizers/enwiki_4096.model").value();
  TextSource source = TextSource::open({shared_folder() + "/data/corpora/enwiki-long/val.jsonl.xz"}).value();
  Text text;
  TextDocument document;
  while (text.ids.size() < kTargets + 1 && source.next(document).value()) {
    text.ids.push_back(*tokenizer.bos());
    const std::vector<std::uint16_t> ids = tokenizer.encode(document.text).value();
    text.ids.insert(text.ids.end(), ids.begin(), ids.end());
  }
  text.ids.resize(kTargets + 1);
  text.bytes = tokenizer.decode(text.ids).value().size();
  return text;
}

StoredModel published_model() {
  const std::string path = shared_folder() + "/data/checkpoints/quinary-small-trained.safetensors";
  const SafetensorsFile file = SafetensorsFile::open(path).value();
  const LoadedConfig config = checkpoint_config(file, path, PAR5_SOURCE_DIR "/configs/quinary-small.toml").value();
  const Config& values = config.values();
  const MatchedTensors matched = match_tensors(file, values.model, path).value();
  return store_checkpoint(matched, values.model, values.quantizer).value();
}

double nats(Engine& engine, const Text& text) {
  const auto vocab = static_cast<std::size_t>(engine.model().vocab);
  Windows windows = engine.make_windows(1, kWindow).value();
  std::vector<float> probabilities;
  double total = 0;
  for (std::size_t first = 0; first < kTargets; first += kWindow) {
    windows.truncate(0, 0);
    const WindowInput input{0, std::span(text.ids).subspan(first, kWindow), 0};
    const Status status =
        engine.append(windows, {&input, 1}, [&](std::int64_t row, std::int64_t rows, std::span<const float> logits) {
          probabilities.resize(logits.size());
          engine.log_probabilities(logits, 1.0, probabilities);
          for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r)
            total -=
                static_cast<double>(probabilities[r * vocab + text.ids[first + static_cast<std::size_t>(row) + r + 1]]);
          return Status();
        });
    EXPECT_TRUE(status.has_value());
  }
  return total;
}

TEST(Checkpoint, ScoresWhatAnIndependentProgramMeasured) {
  if (!is_folder(shared_folder() + "/data/checkpoints")) GTEST_SKIP() << "the shared checkpoint is not there";
  const Text text = validation_text();
  ASSERT_EQ(text.bytes, 108821u);
  const StoredModel model = published_model();
  const auto bits_per_byte = [&](Arithmetic arithmetic) {
    Engine engine = testing_support::make_engine(model, arithmetic, "", 2);
    return nats(engine, text) / std::log(2.0) / static_cast<double>(text.bytes);
  };
  const double exact = bits_per_byte(Arithmetic::fp32);
  EXPECT_NEAR(exact, 1.6874351, 1e-5);
  const double rounded = bits_per_byte(Arithmetic::int8);
  EXPECT_NEAR(rounded, exact, 0.01);
  RecordProperty("fp32", std::to_string(exact));
  RecordProperty("int8", std::to_string(rounded));
}

}  // namespace
}  // namespace par5
