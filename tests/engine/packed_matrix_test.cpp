// Packed matrices hold exactly the stored values, and the C interface gives the engine's logits.
#include "engine/packed_matrix.h"

#include <gtest/gtest.h>

#include "archive/artifact.h"
#include "core/file.h"
#include "engine/kernels.h"
#include "engine/par5_engine.h"
#include "tests/engine/test_models.h"

namespace par5 {
namespace {

TEST(PackedMatrix, EveryFormatHoldsTheStoredValues) {
  for (const auto& [name, model] : testing_support::models_of_every_kind())
    for (const StoredTensor& tensor : model.tensors) {
      if (tensor.spec.shape.size() != 2) continue;
      const std::vector<float> values = tensor.values();
      const auto rows = static_cast<std::size_t>(tensor.spec.shape[0]),
                 columns = static_cast<std::size_t>(tensor.spec.shape[1]);
      const MatrixRows all{&tensor, 0, tensor.spec.shape[0]};
      for (const Packing packing : {Packing::bits, Packing::base5, Packing::columns, Packing::pairs, Packing::single}) {
        const PackedMatrix matrix = pack_matrix({&all, 1}, packing).value();
        std::size_t differing = 0;
        for (std::size_t o = 0; o < rows; ++o)
          for (std::size_t i = 0; i < columns; ++i) differing += weight_at(matrix, o, i) != values[o * columns + i];
        EXPECT_EQ(differing, 0u) << name << " " << tensor.spec.name;
      }
    }
}

TEST(PackedMatrix, DecodersGiveTheValuesOfAnyRangeOfInputs) {
  for (const auto& [name, model] : testing_support::models_of_every_kind())
    for (const StoredTensor& tensor : model.tensors) {
      if (tensor.spec.shape.size() != 2 || tensor.spec.calibration) continue;
      const MatrixRows all{&tensor, 0, tensor.spec.shape[0]};
      const auto columns = static_cast<std::size_t>(tensor.spec.shape[1]);
      for (const Kernels* kernels : available_kernels()) {
        for (const Packing packing : {kernels->packing, Packing::single})
          for (const auto& [first, count] :
               {std::pair<std::size_t, std::size_t>{0, columns}, {3, 7}, {1, 1}, {5, 13}}) {
            const PackedMatrix matrix = pack_matrix({&all, 1}, packing).value();
            if (first + count > matrix.inputs) continue;
            AlignedVector<float> out(count * kBlock);
            const std::size_t block = matrix.blocks() - 1;
            kernels->decode(matrix, block, first, count, out.data());
            std::size_t differing = 0;
            for (std::size_t i = 0; i < count; ++i)
              for (std::size_t o = 0; o < kBlock && block * kBlock + o < matrix.outputs; ++o)
                differing += out[i * kBlock + o] != weight_at(matrix, block * kBlock + o, first + i);
            EXPECT_EQ(differing, 0u) << name << " " << tensor.spec.name << " " << kernels->name;
          }
      }
    }
}

TEST(CInterface, GivesTheEnginesLogits) {
  const StoredModel model = testing_support::models_of_every_kind().front().model;
  Artifact artifact;
  artifact.model = model;
  const auto encoded = encode_artifact(artifact, {1, 1});
  ASSERT_TRUE(encoded.has_value()) << encoded.error().message;
  const TemporaryFolder folder = TemporaryFolder::create().value();
  const std::string path = join_path(folder.path(), "model.par5");
  ASSERT_TRUE(write_file(path, encoded->bytes, Overwrite::no).has_value());

  const auto tokens = testing_support::token_ids(30, model.model.vocab, 9);
  Engine engine = testing_support::make_engine(model, Arithmetic::int8, "");
  const std::vector<float> expected = testing_support::all_logits(engine, tokens);
  par5_engine* handle = nullptr;
  ASSERT_EQ(par5_engine_open(path.c_str(), "int8", nullptr, 1, 0, &handle), 0) << par5_engine_message(handle);
  const std::size_t vocab = par5_engine_vocab(handle);
  EXPECT_EQ(vocab, static_cast<std::size_t>(model.model.vocab));
  EXPECT_EQ(par5_engine_capacity(handle), static_cast<std::size_t>(model.model.context));
  std::vector<float> logits(20 * vocab);
  ASSERT_EQ(par5_engine_eval(handle, tokens.data(), 20, logits.data()), 0);
  ASSERT_EQ(par5_engine_eval(handle, tokens.data() + 20, 10, nullptr), 0);
  EXPECT_EQ(par5_engine_length(handle), 30u);
  EXPECT_TRUE(std::equal(logits.begin(), logits.end(), expected.begin()));
  EXPECT_TRUE(std::equal(par5_engine_logits(handle), par5_engine_logits(handle) + vocab,
                         expected.end() - static_cast<std::ptrdiff_t>(vocab)));
  std::vector<std::uint16_t> too_many(100, 1);
  EXPECT_EQ(par5_engine_eval(handle, too_many.data(), too_many.size(), nullptr), 2);
  EXPECT_STRNE(par5_engine_message(handle), "");
  par5_engine_truncate(handle, 20);
  ASSERT_EQ(par5_engine_eval(handle, tokens.data() + 20, 10, nullptr), 0);
  EXPECT_TRUE(std::equal(par5_engine_logits(handle), par5_engine_logits(handle) + vocab,
                         expected.end() - static_cast<std::ptrdiff_t>(vocab)));
  par5_engine_close(handle);
}

}  // namespace
}  // namespace par5
