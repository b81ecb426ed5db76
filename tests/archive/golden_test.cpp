// Artifacts that earlier versions wrote: they decode to the same values for ever. With PAR5_WRITE_GOLDEN=FOLDER the
// test writes the files of this version instead of reading the stored ones.
#include <gtest/gtest.h>

#include <cstdlib>

#include "models.h"
#include "reference.h"

namespace par5 {
namespace {

struct Golden {
  std::string file;
  Artifact artifact;
  std::string values;
};

std::vector<Golden> golden_artifacts() {
  std::vector<Golden> list;
  ModelConfig model = test::small_model();
  model.vocab = 280;
  QuantizerConfig quantizer = test::small_quantizer();
  quantizer.scale_bits = 5;
  Artifact artifact = test::random_artifact(model, quantizer, 11);
  artifact.tokenizer = test::small_tokenizer(280);
  artifact.tokenizer_sha256 = std::string(64, 'e');
  artifact.temperature = 1.0625;
  artifact.self_test = {{{1, 17, 250}, 21500}};
  artifact.extras = {{"note", false, std::string("golden")}};
  list.push_back({"unet-quinary.par5", artifact, "values 60abb4cae3269914 40496"});
  model.backbone = Backbone::gpt2;
  model.embedding_width = model.width;
  model.kv_heads = model.heads;
  model.embedding_storage = EmbeddingStorage::quantized;
  model.activation = Activation::gelu;
  model.norm = Norm::layer;
  quantizer = test::small_quantizer(Grid::ternary);
  quantizer.granularity = Granularity::row;
  list.push_back({"gpt2-ternary.par5", test::random_artifact(model, quantizer, 12), "values 9c7d90e4ab731027 53616"});
  quantizer = test::small_quantizer(Grid::int4);
  quantizer.granularity = Granularity::tensor;
  list.push_back(
      {"unet-int4.par5", test::random_artifact(test::small_model(), quantizer, 13), "values b81a0dd4c909c03c 40916"});
  return list;
}

TEST(Golden, DecodesForEver) {
  const char* write_to = std::getenv("PAR5_WRITE_GOLDEN");
  for (const Golden& golden : golden_artifacts()) {
    SCOPED_TRACE(golden.file);
    if (write_to) {
      const auto encoded = encode_artifact(golden.artifact, {5, 0});
      ASSERT_TRUE(encoded) << to_string(encoded.error());
      ASSERT_TRUE(write_file(join_path(write_to, golden.file), encoded->bytes, Overwrite::yes));
      std::printf("%s %s", golden.file.c_str(), test::values_line(golden.artifact.model).c_str());
      continue;
    }
    const std::string path = PAR5_SOURCE_DIR "/tests/archive/golden/" + golden.file;
    const auto decoded = read_artifact(path);
    ASSERT_TRUE(decoded) << to_string(decoded.error());
    EXPECT_EQ(test::values_line(decoded->artifact.model), golden.values + "\n");
    EXPECT_EQ(decoded->artifact.tokenizer, golden.artifact.tokenizer);
    EXPECT_EQ(decoded->artifact.model.model, golden.artifact.model.model);
    EXPECT_EQ(decoded->artifact.extras, golden.artifact.extras);
    EXPECT_EQ(decoded->artifact.self_test, golden.artifact.self_test);
    EXPECT_EQ(decoded->artifact.temperature, golden.artifact.temperature);
    EXPECT_EQ(
        test::reference_output(path),
        (golden.artifact.tokenizer ? test::tokenizer_line(*golden.artifact.tokenizer) : "") + golden.values + "\n");
  }
}

}  // namespace
}  // namespace par5
