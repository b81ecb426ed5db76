#include "tests/fuzz/seeds.h"

#include <algorithm>
#include <array>
#include <random>

#include "archive/artifact.h"
#include "archive/codec.h"
#include "archive/coder/bytes.h"
#include "archive/coder/chain.h"
#include "archive/coder/half.h"
#include "archive/tokenizer_stream.h"
#include "core/safetensors.h"
#include "pack/packing.h"
#include "tests/archive/models.h"
#include "tokenizer/model_file.h"
#include "tokenizer/shards/shard_writer.h"

namespace par5::fuzz {
namespace {

Bytes to_bytes(std::string_view text) {
  const auto bytes = as_bytes(text);
  return {bytes.begin(), bytes.end()};
}
Bytes prefixed(std::initializer_list<unsigned> front, std::span<const std::byte> rest) {
  Bytes bytes;
  for (const unsigned value : front) bytes.push_back(static_cast<std::byte>(value));
  bytes.insert(bytes.end(), rest.begin(), rest.end());
  return bytes;
}

ModelConfig tiny_model() {
  ModelConfig model = test::small_model();
  model.layers = 1;
  model.width = 16;
  model.heads = 2;
  model.kv_heads = 1;
  model.mlp_width = 32;
  model.vocab = 262;
  model.embedding_width = 4;
  return model;
}

void add_artifacts(std::vector<Seed>& list) {
  for (const Grid grid : {Grid::binary, Grid::ternary, Grid::quinary, Grid::int4}) {
    QuantizerConfig quantizer = test::small_quantizer(grid);
    quantizer.group = 8;
    quantizer.scale_bits = grid == Grid::quinary ? 5 : 16;
    Artifact artifact = test::random_artifact(tiny_model(), quantizer);
    if (grid == Grid::quinary) {
      artifact.tokenizer = test::small_tokenizer(262);
      artifact.tokenizer_sha256 = std::string(64, '5');
      artifact.self_test = {{{1, 2, 3}, 1000}};
      artifact.extras = {{"note", false, std::string("kept")}};
    }
    for (const int effort : {0, 5}) {
      const auto encoded = encode_artifact(artifact, {effort, 1});
      const std::string name = std::string(grid_name(grid)) + "-" + std::to_string(effort);
      list.push_back({"artifact", name, encoded.value().bytes});
      if (effort == 0)
        for (const unsigned arithmetic : {0u, 1u, 2u})
          list.push_back({"engine", name + "-" + std::to_string(arithmetic),
                          prefixed({arithmetic, arithmetic}, encoded.value().bytes)});
    }
  }
}

void add_streams(std::vector<Seed>& list) {
  const std::string text = "five levels, five levels, five levels and a half; five levels";
  const Bytes raw = to_bytes(text);
  for (const auto& [number, codec] : {std::pair{0u, Codec::lzma}, std::pair{1u, Codec::zstd},
                                      std::pair{2u, Codec::brotli}, std::pair{8u, Codec::lzma2}})
    list.push_back({"streams", std::string(codec_name(codec)),
                    prefixed({number, static_cast<unsigned>(raw.size()), 0}, compress({codec, 0}, raw).value())});
  list.push_back({"streams", "tokenizer", prefixed({3}, write_tokenizer(test::small_tokenizer(262)).value())});
  std::mt19937 random(1);
  const auto add = [&](unsigned kind, Layout layout, unsigned choice, const auto& packed, const std::string& name) {
    list.push_back(
        {"streams", name + "-" + std::string(layout_name(layout)),
         prefixed({kind, static_cast<unsigned>(layout), choice, 6, 7}, std::as_bytes(std::span(packed.value())))});
  };
  for (const Grid grid : {Grid::binary, Grid::ternary, Grid::quinary, Grid::septenary, Grid::int5}) {
    std::vector<std::int8_t> codes(42);
    for (std::int8_t& code : codes) {
      code = static_cast<std::int8_t>(static_cast<int>(random() % static_cast<unsigned>(2 * max_code(grid) + 1)) -
                                      max_code(grid));
      if (grid == Grid::binary) code = random() % 2 ? 1 : -1;
    }
    for (const Layout layout : layouts_for(grid))
      add(4, layout, static_cast<unsigned>(grid), pack_codes(layout, grid, {6, 7}, codes),
          std::string(grid_name(grid)));
  }
  std::vector<std::int8_t> deltas(42);
  for (std::int8_t& delta : deltas) delta = static_cast<std::int8_t>(static_cast<int>(random() % 32) - 16);
  for (const Layout layout : layouts_for_deltas()) add(5, layout, 1, pack_deltas(layout, 5, {6, 7}, deltas), "deltas");
  std::vector<std::uint8_t> eights(42);
  for (std::uint8_t& code : eights) code = static_cast<std::uint8_t>(random() % 0x7f);
  for (const Layout layout : layouts_for(Storage::fp8, {6, 7}))
    add(6, layout, 0, pack_fp8(layout, {6, 7}, eights), "fp8");
  std::vector<std::uint16_t> halves(42);
  for (std::uint16_t& code : halves) code = static_cast<std::uint16_t>(random() % 0x7c00);
  for (const Layout layout : layouts_for(Storage::fp16, {6, 7}))
    add(7, layout, 0, pack_fp16(layout, {6, 7}, halves), "fp16");
}

// The front bytes are those that fuzz_coder.cpp reads.
void add_chains(std::vector<Seed>& list) {
  std::mt19937 random(2);
  for (const auto& [kind, most, name] :
       {std::tuple{1u, 2, "quinary"}, std::tuple{0u, 1, "ternary"}, std::tuple{15u, 16, "deltas"},
        std::tuple{254u, 1, "binary"}, std::tuple{255u, 0, "fp8"}}) {
    coder::Alphabet alphabet{coder::Alphabet::Kind::grid, most, kind != 254};
    if (kind == 255) alphabet.kind = coder::Alphabet::Kind::fp8;
    std::vector<std::int8_t> codes(24 * 20);
    for (std::size_t i = 0; i < codes.size(); ++i) {
      // Columns of different size, so that the model has something to find.
      const int range = kind == 255 ? 0x3f : std::max(1, most - static_cast<int>(i % 20) / 8);
      codes[i] = static_cast<std::int8_t>(static_cast<int>(random() % static_cast<unsigned>(2 * range + 1)) - range);
      if (kind == 254) codes[i] = random() % 3 ? 1 : -1;
    }
    for (const bool transposed : {false, true}) {
      const std::vector<coder::ChainPart> parts = {{24, 20, transposed, codes}, {20, 24, !transposed, codes}};
      const auto chain = coder::encode_chain(alphabet, parts);
      list.push_back({"coder", std::string(name) + (transposed ? "-t" : ""),
                      prefixed({1, kind, 1, 23, 19, 0, 0, 19, 23, 0, 0}, chain.value().bytes)});
    }
  }
  std::vector<std::uint16_t> values(40);
  for (std::uint16_t& value : values) value = static_cast<std::uint16_t>(0x3c00 + random() % 64);
  const std::vector<std::span<const std::uint16_t>> vectors = {values, values};
  const Bytes text = to_bytes("five levels, five levels, six levels");
  const std::vector<std::span<const std::byte>> strings = {text, text};
  const auto length = static_cast<unsigned>(text.size()) - 1;
  list.push_back({"coder", "strings", prefixed({4, 1, length, length}, coder::encode_bytes(strings))});
  list.push_back({"coder", "halves", prefixed({0, 1, 39, 39}, coder::encode_halves(vectors))});
}

void add_files(std::vector<Seed>& list) {
  const TemporaryFolder folder = TemporaryFolder::create().value();
  const std::string path = join_path(folder.path(), "a.safetensors");
  std::vector<Tensor> tensors = {Tensor::from_floats("a.weight", {2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}),
                                 {"b", DType::bfloat16, {2}, Bytes(4)},
                                 {"c", DType::float8_e4m3, {}, Bytes(1)}};
  std::vector<TensorView> views;
  for (const Tensor& tensor : tensors) views.push_back(tensor.view());
  if (write_safetensors(path, views, {{"par5.config", "[model]\nlayers = 2\n"}}, Overwrite::yes))
    list.push_back({"safetensors", "three", read_file(path).value()});

  list.push_back(
      {"config", "small",
       to_bytes("[model]\nlayers = 2\nwidth = 64\nactivation = \"relu2\"\n[quantizer]\ngrid = \"ternary\"\ngroup = 16\n"
                "[train]\nmax_seconds = 1.5e2\n[optimizer]\nmuon_lr = 0.035\n")});

  TokenizerData tokenizer = test::small_tokenizer(262);
  tokenizer.normalizer = "identity";
  tokenizer.normalizer_sha256.clear();
  list.push_back({"model_file", "identity", to_bytes(serialize_model(tokenizer).value())});

  ShardWriter::Options options;
  options.token_bytes = token_bytes(tokenizer);
  options.tokenizer_sha256 = tokenizer_sha256(tokenizer);
  const std::string shards = join_path(folder.path(), "shards");
  auto writer = ShardWriter::create(shards, options).value();
  const std::vector<std::uint16_t> document = {1, 100, 101, 261};
  require(writer.add(document, std::string(64, 'a'), 3).has_value());
  const ShardManifest manifest = writer.finish().value();
  const Bytes shard = read_file(join_path(shards, manifest.files[0])).value();
  ShardManifest renamed = manifest;
  renamed.files[0] = "a.bin";
  Bytes bytes = to_bytes(manifest_json(renamed));
  const auto length = static_cast<unsigned>(bytes.size());
  bytes.insert(bytes.end(), shard.begin(), shard.end());
  list.push_back({"shards", "one", prefixed({length & 255, length >> 8}, bytes)});
  (void)remove_file(join_path(shards, manifest.files[0]));
  (void)remove_file(join_path(shards, kManifestName));
}

}  // namespace

std::vector<Seed> seeds() {
  std::vector<Seed> list;
  add_artifacts(list);
  add_streams(list);
  add_chains(list);
  add_files(list);
  return list;
}

}  // namespace par5::fuzz
