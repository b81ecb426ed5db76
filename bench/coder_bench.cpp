// What par5's own coder takes and how fast it is, beside order-0 entropy, LZMA-9 (the smallest of four layouts) and
// brotli-11:
// on the reference data's trained checkpoint ($PAR5_SHARED, else ../shared) and, with --long, on full-size seeded
// states of quinary-16mb's shapes. Times are processor seconds of one thread.
#include <brotli/encode.h>
#include <lzma.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <string>

#include "archive/coder/chain.h"
#include "archive/coder/half.h"
#include "bench/figures.h"
#include "bench/model_states.h"
#include "core/safetensors.h"
#include "pack/packing.h"
#include "pack/scale_codec.h"
#include "pack/statistics.h"
#include "pack/stored_model.h"

namespace par5 {
namespace {

using coder::Alphabet;
using coder::ChainPart;

const Alphabet kQuinary{Alphabet::Kind::grid, 2, true}, kFp8{Alphabet::Kind::fp8, 0, true};

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// LZMA2 without a container.
std::size_t lzma_bytes(std::span<const std::uint8_t> raw) {
  std::vector<std::uint8_t> out(raw.size() + raw.size() / 2 + 1024);
  std::size_t size = 0;
  lzma_options_lzma options;
  if (lzma_lzma_preset(&options, 9)) return raw.size();
  const lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  if (lzma_raw_buffer_encode(filters, nullptr, raw.data(), raw.size(), out.data(), &size, out.size()) != LZMA_OK)
    return raw.size();
  return size;
}

std::size_t brotli_bytes(std::span<const std::uint8_t> raw) {
  std::size_t size = BrotliEncoderMaxCompressedSize(raw.size()) + 1024;
  std::vector<std::uint8_t> out(size);
  return BrotliEncoderCompress(11, 24, BROTLI_MODE_GENERIC, raw.size(), raw.data(), &size, out.data()) ? size
                                                                                                       : raw.size();
}

// One matrix of codes with what it is called in the table.
struct Matrix {
  std::string kind;
  std::int64_t rows = 0, columns = 0;
  bool transposed = false;
  std::vector<std::int8_t> codes;
  std::vector<std::int16_t> known = {};
  std::int64_t partner_distance = 0;

  std::span<const std::uint8_t> bytes() const {
    return {reinterpret_cast<const std::uint8_t*>(codes.data()), codes.size()};
  }
};

struct Row {
  double symbols = 0, order0 = 0, lzma = 0, brotli = 0, own = 0;
  void add(const Row& other) {
    symbols += other.symbols, order0 += other.order0, lzma += other.lzma, brotli += other.brotli, own += other.own;
  }
};
using Table = std::map<std::string, Row>;

double order0(std::span<const std::uint8_t> bytes) { return order0_bytes(bytes); }

Row print(const std::string& title, const Table& table) {
  std::printf("%s\n  %-22s %10s %10s %10s %10s %10s %8s %8s\n", title.c_str(), "kind", "symbols", "order-0", "LZMA-9",
              "brotli-11", "own", "/order-0", "/LZMA");
  Row total;
  const auto line = [](const std::string& kind, const Row& row) {
    std::printf("  %-22s %10.0f %10.0f %10.0f %10.0f %10.0f %7.2f%% ", kind.c_str(), row.symbols, row.order0, row.lzma,
                row.brotli, row.own, 100 * row.own / row.order0);
    if (row.lzma > 0) std::printf("%7.2f%%", 100 * row.own / row.lzma);
    std::printf("\n");
  };
  for (const auto& [kind, row] : table) {
    line(kind, row);
    total.add(row);
  }
  line("total", total);
  return total;
}

void add_ratio(bench::Figures& figures, const std::string& id, const std::string& what, double own, double yardstick,
               std::optional<double> must, std::optional<double> aim) {
  bench::Figure figure{id, what, 100 * own / yardstick, "%", must, aim, bench::Better::lower};
  figure.lowest = figure.median = figure.value;
  figure.detail = fixed(own, 0) + " of " + fixed(yardstick, 0) + " bytes";
  figures.add(std::move(figure));
}

// Codes chains, checks that they decode, prints times and fills the table's column `own`.
bool measure(const Alphabet& alphabet, const std::vector<std::vector<Matrix>>& chains, Table& table) {
  for (const std::vector<Matrix>& chain : chains) {
    std::vector<ChainPart> parts;
    double symbols = 0;
    for (const Matrix& m : chain) {
      parts.push_back({m.rows, m.columns, m.transposed, m.codes, m.known, m.partner_distance});
      symbols += static_cast<double>(m.codes.size());
    }
    double start = processor_seconds();
    const auto encoded = coder::encode_chain(alphabet, parts);
    const double encode = processor_seconds() - start;
    if (!encoded) {
      std::printf("encoding failed: %s\n", to_string(encoded.error()).c_str());
      return false;
    }
    std::vector<std::vector<std::int8_t>> decoded;
    std::vector<std::span<std::int8_t>> outputs;
    std::vector<coder::PartShape> shapes;
    for (const Matrix& m : chain) decoded.emplace_back(m.codes.size()), shapes.push_back({m.rows, m.columns, m.known});
    for (auto& codes : decoded) outputs.push_back(codes);
    start = processor_seconds();
    const auto status = coder::decode_chain(alphabet, encoded->bytes, shapes, outputs);
    const double decode = processor_seconds() - start;
    for (std::size_t i = 0; i < chain.size(); ++i) {
      if (!status || decoded[i] != chain[i].codes) {
        std::printf("a chain did not decode to its codes\n");
        return false;
      }
      table[chain[i].kind].own += static_cast<double>(encoded->part_bytes[i]);
    }
    std::printf("chain of %zu: %.0f symbols, %zu bytes; encode %.2f s, decode %.2f s = %.2f M symbols/s a core\n",
                chain.size(), symbols, encoded->bytes.size(), encode, decode, symbols / decode / 1e6);
  }
  return true;
}

void add_order0(const std::vector<std::vector<Matrix>>& chains, Table& table) {
  for (const auto& chain : chains)
    for (const Matrix& m : chain) table[m.kind].add({static_cast<double>(m.codes.size()), order0(m.bytes()), 0, 0, 0});
}

void add_quinary_yardsticks(const std::vector<std::vector<Matrix>>& chains, Table& table) {
  for (const auto& chain : chains) {
    for (const Matrix& m : chain) {
      std::size_t lzma = SIZE_MAX, brotli = SIZE_MAX;
      for (const Layout layout : {Layout::base5, Layout::base5_t, Layout::planes, Layout::planes_t}) {
        const auto packed = pack_codes(layout, Grid::quinary, {m.rows, m.columns}, m.codes);
        if (!packed) continue;
        lzma = std::min(lzma, lzma_bytes(*packed));
        brotli = std::min(brotli, brotli_bytes(*packed));
      }
      table[m.kind].add({0, 0, static_cast<double>(lzma), static_cast<double>(brotli), 0});
    }
  }
}

// The smaller of both orientations.
void add_byte_yardsticks(const std::vector<std::vector<Matrix>>& chains, Table& table) {
  for (const auto& chain : chains) {
    for (const Matrix& m : chain) {
      std::vector<std::uint8_t> turned;
      for (std::int64_t c = 0; c < m.columns; ++c)
        for (std::int64_t r = 0; r < m.rows; ++r)
          turned.push_back(static_cast<std::uint8_t>(m.codes[static_cast<std::size_t>(r * m.columns + c)]));
      table[m.kind].add({0, 0, static_cast<double>(std::min(lzma_bytes(m.bytes()), lzma_bytes(turned))),
                         static_cast<double>(std::min(brotli_bytes(m.bytes()), brotli_bytes(turned))), 0});
    }
  }
}

// Sums of |code| over each column of a matrix: what the unit behind the column weighs for those that read it.
std::vector<std::uint32_t> column_sums(const QuantizedTensor& tensor) {
  std::vector<std::uint32_t> sums(static_cast<std::size_t>(tensor.shape[1]));
  for (std::size_t i = 0; i < tensor.codes.size(); ++i)
    sums[i % sums.size()] += static_cast<unsigned>(std::abs(tensor.codes[i]));
  return sums;
}

// What is known of the scales of a part's rows once the codes are decoded: a hidden unit that is read with large
// weights is written with large weights, and so is a value head's channel.
std::vector<std::int16_t> known_of(const StoredModel& stored, const TensorPart& part) {
  std::vector<std::int16_t> known(static_cast<std::size_t>(part.rows), 0);
  const std::size_t dot = part.name.find('.', 7);
  const std::string layer = part.name.substr(0, dot + 1), kind = part.name.substr(dot + 1);
  if (kind == "mlp.fc.weight") {
    const auto sums = column_sums(std::get<QuantizedTensor>(stored.find(layer + "mlp.proj.weight")->data));
    for (std::size_t i = 0; i < known.size(); ++i) known[i] = coder::known_log2(sums[i]);
  } else if (kind == "attn.c_qkv.weight:v") {
    const auto sums = column_sums(std::get<QuantizedTensor>(stored.find(layer + "attn.proj.weight")->data));
    const std::size_t head = static_cast<std::size_t>(stored.model.head_width());
    const std::size_t shared = static_cast<std::size_t>(stored.model.heads / stored.model.kv_heads);
    for (std::size_t i = 0; i < known.size(); ++i) {
      std::uint32_t sum = 0;
      for (std::size_t k = 0; k < shared; ++k) sum += sums[(i / head * shared + k) * head + i % head];
      known[i] = coder::known_log2(sum);
    }
  }
  return known;
}

bool is_output_side(const std::string& name) { return name.find("proj") != std::string::npos; }

int run_checkpoint(const std::string& path, const std::string& config_path, bench::Figures& figures) {
  const auto fail = [](const Error& error) {
    std::printf("%s\n", to_string(error).c_str());
    return exit_status(error.code);
  };
  auto file = SafetensorsFile::open(path);
  if (!file) return fail(file.error());
  auto config = checkpoint_config(*file, path, config_path);
  if (!config) return fail(config.error());
  const ModelConfig& model = config->values().model;
  auto matched = match_tensors(*file, model, path);
  if (!matched) return fail(matched.error());
  auto stored = store_checkpoint(*matched, model, config->values().quantizer);
  if (!stored) return fail(stored.error());

  std::vector<std::vector<Matrix>> weights(2), fp8(1), scales(1);
  std::vector<std::vector<std::uint16_t>> vectors, half_scales;
  for (const StoredTensor& tensor : stored->tensors) {
    if (const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data)) {
      const std::int64_t columns = tensor.spec.shape[1];
      for (const TensorPart& part : tensor_parts(tensor.spec, model)) {
        const bool output = is_output_side(part.name);
        const auto first = quantized->codes.begin() + part.first_row * columns;
        const std::string kind = part.name.substr(part.name.find('.', 7) + 1);
        weights[output].push_back({kind, part.rows, columns, output, {first, first + part.rows * columns}});
        const bool shared_heads = kind == "attn.c_qkv.weight:q" || kind == "attn.proj.weight";
        if (shared_heads && model.kv_heads < model.heads) weights[output].back().partner_distance = model.head_width();
      }
      const ScaleDeltas deltas = fit_scale_deltas(*quantized, 5);
      const std::int64_t groups = static_cast<std::int64_t>(deltas.deltas.size()) / tensor.spec.shape[0];
      for (const TensorPart& part : tensor_parts(tensor.spec, model)) {
        const auto first = deltas.deltas.begin() + part.first_row * groups;
        const std::string kind = part.name.substr(part.name.find('.', 7) + 1);
        scales[0].push_back(
            {kind, part.rows, groups, false, {first, first + part.rows * groups}, known_of(*stored, part)});
      }
      half_scales.push_back(quantized->scales);
    } else if (const auto* eight = std::get_if<Fp8Tensor>(&tensor.data)) {
      fp8[0].push_back({tensor.spec.name,
                        tensor.spec.shape[0],
                        tensor.spec.shape[1],
                        false,
                        {eight->codes.begin(), eight->codes.end()}});
      if (tensor.spec.shape[1] > tensor.spec.shape[0]) fp8[0].back().transposed = true;
    } else {
      vectors.push_back(std::get<Fp16Tensor>(tensor.data).codes);
    }
  }
  Table table;
  if (!measure(kQuinary, weights, table)) return 1;
  add_order0(weights, table);
  add_quinary_yardsticks(weights, table);
  const Row codes = print("quinary codes", table);
  add_ratio(figures, "coder.1", "quinary codes of the trained checkpoint / LZMA-9 choose-min", codes.own, codes.lzma,
            95.0, 94.0);
  add_ratio(figures, "coder.info", "the same / order-0 entropy", codes.own, codes.order0, {}, {});

  Table fp8_table;
  if (!measure(kFp8, fp8, fp8_table)) return 1;
  add_order0(fp8, fp8_table);
  add_byte_yardsticks(fp8, fp8_table);
  const Row bytes = print("fp8", fp8_table);
  add_ratio(figures, "coder.info", "fp8 of the trained checkpoint / brotli-11, the better orientation", bytes.own,
            bytes.brotli, {}, {});

  Table scale_table;
  if (!measure({Alphabet::Kind::grid, 16, true}, scales, scale_table)) return 1;
  add_order0(scales, scale_table);
  add_byte_yardsticks(scales, scale_table);
  print("5-bit scale deltas", scale_table);
  Row row;
  for (const auto& [kind, of_kind] : scale_table) row.add(of_kind);
  figures.add({"coder.2",
               "5-bit scales of the trained checkpoint",
               8 * row.own / row.symbols,
               "bits/group",
               4.3,
               {},
               bench::Better::lower});

  for (const auto* halves : {&vectors, &half_scales}) {
    std::vector<std::uint8_t> low, high;
    for (const auto& vector : *halves)
      for (const std::uint16_t value : vector)
        low.push_back(static_cast<std::uint8_t>(value & 255)), high.push_back(static_cast<std::uint8_t>(value >> 8));
    std::vector<std::uint8_t> split = low, woven;
    split.insert(split.end(), high.begin(), high.end());
    for (std::size_t i = 0; i < low.size(); ++i) woven.push_back(low[i]), woven.push_back(high[i]);
    const std::vector<std::span<const std::uint16_t>> views(halves->begin(), halves->end());
    const std::vector<std::byte> own = coder::encode_halves(views);
    std::printf("fp16 %s: %zu values, LZMA %zu, brotli %zu, own %zu bytes\n", halves == &vectors ? "vectors" : "scales",
                low.size(), std::min(lzma_bytes(split), lzma_bytes(woven)),
                std::min(brotli_bytes(split), brotli_bytes(woven)), own.size());
  }
  return 0;
}

std::vector<std::int8_t> quinary_codes(std::int64_t rows, std::int64_t columns, double log_deviation,
                                       bench::Random& random) {
  std::vector<double> column(static_cast<std::size_t>(columns));
  for (double& scale : column) scale = std::exp(log_deviation * random.normal());
  std::vector<float> weights;
  for (std::int64_t i = 0; i < rows * columns; ++i)
    weights.push_back(static_cast<float>(0.02 * random.shape4() * column[static_cast<std::size_t>(i % columns)]));
  QuantizerConfig config;
  return quantize("fixture", {rows, columns}, weights, config)->codes;
}

int run_fixture(bool structured, bench::Figures& figures) {
  bench::Random random(structured ? 2 : 1);
  std::vector<std::vector<Matrix>> chains(2), fp8(1);
  const auto add = [&](const char* kind, std::int64_t rows, std::int64_t columns, bool output, double log_deviation) {
    Matrix matrix{kind, rows, columns, output, {}};
    if (structured) {
      matrix.codes = quinary_codes(rows, columns, log_deviation, random);
    } else {
      for (std::int64_t i = 0; i < rows * columns; ++i) {
        const double u = random.uniform();
        matrix.codes.push_back(static_cast<std::int8_t>(u < 0.1157   ? -2
                                                        : u < 0.345  ? -1
                                                        : u < 0.655  ? 0
                                                        : u < 0.8843 ? 1
                                                                     : 2));
      }
    }
    chains[output].push_back(std::move(matrix));
  };
  for (int layer = 0; layer < 10; ++layer) {
    add("c_qkv:q", 576, 576, false, 0.20);
    add("c_qkv:k", 288, 576, false, 0.20);
    add("c_qkv:v", 288, 576, false, 0.20);
    add("attn.proj", 576, 576, true, 0.10);
    add("mlp.fc", 2304, 576, false, 0.05);
    add("mlp.proj", 576, 2304, true, 0.35);
  }
  Table table;
  if (!measure(kQuinary, chains, table)) return 1;
  add_order0(chains, table);
  const Row codes = print(structured ? "structured quinary state" : "independent quinary state", table);
  if (structured)
    add_ratio(figures, "coder.4", "structured full-size quinary state / order-0 entropy", codes.own, codes.order0, 97.6,
              {});
  else
    add_ratio(figures, "coder.3", "independent full-size quinary state / order-0 entropy", codes.own, codes.order0,
              100.05, {});
  if (!structured) return 0;

  const auto add_fp8 = [&](const char* kind, std::int64_t rows, std::int64_t columns, double deviation) {
    Matrix matrix{kind, rows, columns, columns > rows, {}};
    std::vector<float> values;
    for (std::int64_t i = 0; i < rows * columns; ++i) values.push_back(static_cast<float>(deviation * random.normal()));
    std::vector<float> rounded(values.size());
    TensorSpec spec{kind, {rows, columns}, Storage::fp8, false};
    const auto stored = store_tensor(spec, values, {});
    for (const std::uint8_t code : std::get<Fp8Tensor>(stored->data).codes)
      matrix.codes.push_back(static_cast<std::int8_t>(code));
    fp8[0].push_back(std::move(matrix));
  };
  add_fp8("tok_emb", 16384, 380, 0.3);
  add_fp8("embed_proj", 576, 380, 0.05);
  add_fp8("embed_proj_rev", 380, 576, 0.05);
  Table fp8_table;
  if (!measure(kFp8, fp8, fp8_table)) return 1;
  add_order0(fp8, fp8_table);
  print("fp8", fp8_table);
  return 0;
}

}  // namespace
}  // namespace par5

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : "";
  const bool full_size = argc > 2 && std::string(argv[2]) == "--long";
  const char* named = std::getenv("PAR5_SHARED");
  const std::string source = PAR5_SOURCE_DIR, shared = named ? named : source + "/../shared";
  const std::string checkpoint = shared + "/data/checkpoints/quinary-small-trained.safetensors";
  par5::bench::Figures figures("coder");
  if (!par5::file_exists(checkpoint))
    std::printf("no reference checkpoint at %s: its rows are left out (PAR5_SHARED names its folder)\n",
                checkpoint.c_str());
  else if (const int status = par5::run_checkpoint(checkpoint, source + "/configs/quinary-small.toml", figures);
           status != 0)
    return status;
  for (const bool structured : {false, true})
    if (full_size)
      if (const int status = par5::run_fixture(structured, figures); status != 0) return status;
  return figures.finish(folder);
}
