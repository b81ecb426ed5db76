// The sizes and times of whole artifacts, beside what general compressors and the published method make of the same
// models: on the reference data's trained checkpoint ($PAR5_SHARED, else ../shared) and on checkpoints that are named;
// with --long on full-size seeded states.
//   par5-bench-archive [FOLDER] [--long [--state structured|middle|independent]] [--checkpoint FILE [--config FILE]]…
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <map>
#include <string>

#include "archive/artifact.h"
#include "archive/codec.h"
#include "archive/coder/chain.h"
#include "archive/size_prediction.h"
#include "archive/streams.h"
#include "bench/figures.h"
#include "bench/model_states.h"
#include "bench/published_archive.h"
#include "core/half.h"
#include "core/safetensors.h"
#include "tokenizer/model_file.h"

namespace par5 {
namespace {

using bench::Better;
using bench::Figures;

const std::string kSource = PAR5_SOURCE_DIR;
constexpr int kDefaultEffort = 5;

// A failure ends the program: no figure is printed beside one that could not be measured.
template <class T>
T need(Result<T> result, const std::string& what) {
  if (result) return std::move(result).value();
  std::fprintf(stderr, "%s: %s\n", what.c_str(), to_string(result.error()).c_str());
  std::exit(exit_status(result.error().code));
}

void add(Figures& figures, const std::string& id, const std::string& what, double value, const std::string& unit,
         std::optional<double> must, std::optional<double> aim, const std::string& detail = {}, int threads = 1) {
  figures.add({id, what, value, unit, must, aim, Better::lower, threads, 1, value, value, detail});
}
void add_share(Figures& figures, const std::string& id, const std::string& what, std::uint64_t own, double yardstick,
               std::optional<double> must, std::optional<double> aim, std::string detail = {}) {
  if (detail.empty()) detail = std::to_string(own) + " of " + fixed(yardstick, 0) + " bytes";
  add(figures, id, what, 100 * static_cast<double>(own) / yardstick, "%", must, aim, detail);
}

// Kilobytes from /proc/self/status; the peak can be set back to what is in use now.
std::uint64_t memory_kilobytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key + ":")) return std::stoull(line.substr(key.size() + 1));
  return 0;
}
void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

Artifact artifact_of(StoredModel model) {
  Artifact artifact;
  artifact.model = std::move(model);
  return artifact;
}

struct Packed {
  EncodedArtifact encoded;
  double encode_seconds = 0, decode_seconds = 0, decode_processor_seconds = 0;
  double peak_megabytes = 0;  // over what was in use before
};

Packed pack(const Artifact& artifact, std::size_t threads, int effort = kDefaultEffort) {
  Packed packed;
  reset_peak_memory();
  const std::uint64_t before = memory_kilobytes("VmRSS");
  packed.encode_seconds = bench::seconds_of([&] {
    packed.encoded = need(encode_artifact(artifact, {effort, threads}), "packing");
  });
  packed.peak_megabytes =
      static_cast<double>(memory_kilobytes("VmHWM") - std::min(before, memory_kilobytes("VmHWM"))) / 1024;
  const std::clock_t start = std::clock();
  packed.decode_seconds = bench::seconds_of([&] {
    const auto decoded = need(decode_artifact(packed.encoded.bytes, "the artifact", threads), "decoding");
    if (!same_artifact(artifact, decoded.artifact))
      need(Result<int>(internal_error("it decodes to another model")), "decoding");
  });
  packed.decode_processor_seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  return packed;
}

// Sums over the streams of quantised codes, and over those of fp8 tensors.
struct Streams {
  std::uint64_t stored = 0, order0 = 0, values = 0;
  double worst = 0;  // largest (stored - 64) / order-0 entropy, in percent
};
template <class Wanted>
Streams streams_of(const ArtifactReport& report, const Wanted& wanted) {
  Streams sums;
  for (const TensorReport& tensor : report.tensors)
    for (const StreamReport& stream : tensor.streams) {
      if (!wanted(tensor, stream)) continue;
      sums.stored += stream.stored_bytes;
      sums.order0 += stream.order0_bytes;
      sums.values += stream.values;
      sums.worst = std::max(
          sums.worst, 100 * (static_cast<double>(stream.stored_bytes) - 64) / static_cast<double>(stream.order0_bytes));
    }
  return sums;
}
Streams codes_of(const ArtifactReport& report) {
  return streams_of(report,
                    [](const TensorReport&, const StreamReport& stream) { return stream.part.starts_with("codes"); });
}
Streams fp8_of(const ArtifactReport& report) {
  return streams_of(report, [](const TensorReport& tensor, const StreamReport&) { return tensor.grid == "fp8"; });
}

// Bytes of fp16 vectors are the model's own; the rest of what is neither weights nor scales is the format's.
std::uint64_t overhead(const ArtifactReport& report) { return report.metadata_bytes + report.checksum_bytes; }

double estimate_error(const Artifact& artifact, std::uint64_t file_bytes, std::size_t threads,
                      double* seconds = nullptr) {
  std::uint64_t predicted = 0;
  PredictOptions options;
  options.threads = threads;
  const double took =
      bench::seconds_of([&] { predicted = need(predict_size(artifact, options), "the estimate").file_bytes; });
  if (seconds) *seconds = took;
  return 100 * std::abs(static_cast<double>(predicted) / static_cast<double>(file_bytes) - 1);
}

StoredModel read_checkpoint(const std::string& path, const std::string& config_path) {
  const SafetensorsFile file = need(SafetensorsFile::open(path), path);
  const LoadedConfig config = need(checkpoint_config(file, path, config_path), path);
  const MatchedTensors matched = need(match_tensors(file, config.values().model, path), path);
  QuantizerConfig quantizer = config.values().quantizer;
  quantizer.scale_bits = 16;
  return need(store_checkpoint(matched, config.values().model, quantizer, 0), path);
}

// For every stream of an artifact packed with --effort 9: bytes over the best of all layouts with every codec alone.
void run_effort_nine(const Artifact& artifact, const std::string& name, std::size_t threads, Figures& figures) {
  const Packed packed = pack(artifact, threads, 9);
  const StoredModel& model = artifact.model;
  const std::vector<TensorSpec> specs = tensor_specs(model.model);
  const std::vector<StreamSlot> slots = stream_slots(model.model, model.quantizer, specs, false, false);
  const std::vector<CodecChoice> codecs = {
      {Codec::lzma, (2 * 5 + 0) * 9 + 3}, {Codec::lzma, 0}, {Codec::brotli, 0}, {Codec::zstd, 0}};
  std::vector<std::uint64_t> least(slots.size(), UINT64_MAX);
  const bool lrzip = bench::has_lrzip();
  parallel_for(slots.size(), threads, [&](std::size_t i) {
    for (const Layout layout : layouts_of(slots[i], &specs[slots[i].tensor], model.quantizer)) {
      const auto raw = need(lay_out(model.tensors[slots[i].tensor], slots[i], layout), "a layout");
      for (const CodecChoice& codec : codecs)
        least[i] =
            std::min<std::uint64_t>(least[i], need(compress(codec, std::as_bytes(std::span(raw))), "a codec").size());
      if (lrzip) least[i] = std::min(least[i], bench::lrzip_bytes(raw, false));
    }
  });
  std::map<std::string, std::uint64_t> chosen;
  for (const TensorReport& tensor : packed.encoded.report.tensors)
    for (const StreamReport& stream : tensor.streams) chosen[tensor.name + stream.part] = stream.stored_bytes;
  double larger = 0;
  std::string worst;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const std::uint64_t bytes = chosen.at(specs[slots[i].tensor].name + slots[i].part_label);
    if (bytes <= least[i]) continue;
    larger += 1;
    worst = slots[i].name + " " + std::to_string(bytes) + " > " + std::to_string(least[i]);
  }
  add(figures, "archive.5", name + ": streams at effort 9 larger than the best single codec", larger,
      "of " + std::to_string(slots.size()), 0, {}, worst + (lrzip ? "" : " (lrzip is not installed)"),
      static_cast<int>(threads));
}

// fp8 codes as two planes, of exponents and of signs with mantissas, two values a byte.
std::array<std::vector<std::byte>, 2> nibble_planes(std::span<const std::uint8_t> codes) {
  std::array<std::vector<std::byte>, 2> planes;
  for (auto& plane : planes) plane.resize((codes.size() + 1) / 2);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const unsigned code = codes[i], exponent = code >> 3 & 15, rest = (code >> 4 & 8) | (code & 7);
    planes[0][i / 2] |= static_cast<std::byte>(exponent << 4 * (i % 2));
    planes[1][i / 2] |= static_cast<std::byte>(rest << 4 * (i % 2));
  }
  return planes;
}

// The codes of the same values divided by 2^exponent, or nothing where one of them is not exact then.
std::vector<std::uint8_t> shifted_exactly(std::span<const std::uint8_t> codes, int exponent) {
  std::vector<std::uint8_t> shifted;
  for (const std::uint8_t code : codes) {
    const float value = std::ldexp(float_from_e4m3(code), -exponent);
    shifted.push_back(e4m3_from_float(value));
    if (float_from_e4m3(shifted.back()) != value) return {};
  }
  return shifted;
}

std::uint64_t own_bytes(const Shape& shape, std::span<const std::uint8_t> codes) {
  const coder::ChainPart part{
      shape[0], shape[1], shape[1] > shape[0], {reinterpret_cast<const std::int8_t*>(codes.data()), codes.size()},
      {},       0};
  return need(coder::encode_chain({coder::Alphabet::Kind::fp8, 0, true}, {&part, 1}), "the own coder").bytes.size();
}

// What two ideas about fp8 tensors are worth: byte planes for the general codecs, and exponents that change no value.
void run_fp8(const StoredModel& model, const std::string& name, Figures& figures) {
  const std::array<CodecChoice, 3> codecs = {CodecChoice{Codec::lzma, 0}, {Codec::zstd}, {Codec::brotli}};
  const auto least = [&](std::span<const std::byte> raw) {
    std::uint64_t bytes = UINT64_MAX;
    for (const CodecChoice& codec : codecs)
      bytes = std::min<std::uint64_t>(bytes, need(compress(codec, raw), "a codec").size());
    return bytes;
  };
  std::uint64_t whole = 0, planes = 0, own = 0, scaled = 0;
  for (const StoredTensor& tensor : model.tensors) {
    const auto* fp8 = std::get_if<Fp8Tensor>(&tensor.data);
    if (!fp8) continue;
    std::uint64_t tensor_whole = UINT64_MAX, tensor_planes = UINT64_MAX;
    for (const Layout layout : {Layout::bytes, Layout::bytes_t}) {
      const auto laid_out = need(pack_fp8(layout, tensor.spec.shape, fp8->codes), "a layout");
      const auto nibbles = nibble_planes(laid_out);
      tensor_whole = std::min(tensor_whole, least(std::as_bytes(std::span(laid_out))));
      tensor_planes = std::min(tensor_planes, least(nibbles[0]) + least(nibbles[1]));
    }
    whole += tensor_whole;
    planes += tensor_planes;
    const std::uint64_t unscaled = own_bytes(tensor.spec.shape, fp8->codes);
    std::uint64_t best = unscaled;
    for (int exponent = -6; exponent <= 6; ++exponent)
      if (const auto codes = shifted_exactly(fp8->codes, exponent); exponent != 0 && !codes.empty())
        best = std::min(best, own_bytes(tensor.spec.shape, codes) + 1);  // the exponent's byte
    own += unscaled;
    scaled += best;
  }
  add_share(figures, "archive.info", name + ": fp8 in planes / whole bytes, best of LZMA, zstd, brotli", planes,
            static_cast<double>(whole), {}, {});
  add_share(figures, "archive.info", name + ": fp8, own coder / that", own, static_cast<double>(whole), {}, {});
  add_share(figures, "archive.info", name + ": fp8, own coder, best exact power-of-two scale / none", scaled,
            static_cast<double>(own), {}, {});
}

void run_thread_counts(const Artifact& artifact, const std::string& name, Figures& figures) {
  double different = 0;
  const std::vector<std::byte> first = need(encode_artifact(artifact, {kDefaultEffort, 1}), "packing").bytes;
  for (const std::size_t threads : {2, 8})
    different += need(encode_artifact(artifact, {kDefaultEffort, threads}), "packing").bytes == first ? 0 : 1;
  add(figures, "archive.8", name + ": thread counts (2, 8) that give other bytes than 1", different, "of 2", 0, {});
}

// A trained checkpoint. Figures are claimed for the reference data's, the one whose tokenizer is given.
void run_checkpoint(const std::string& path, const std::string& config, const std::string& tokenizer, bool slow,
                    std::size_t threads, Figures& figures) {
  const bool reference = !tokenizer.empty();
  StoredModel model = read_checkpoint(path, config);
  (void)apply_scale_bits(model, 5);
  const Artifact artifact = artifact_of(model);
  const Packed packed = pack(artifact, threads);
  const ArtifactReport& report = packed.encoded.report;
  const Streams codes = codes_of(report);
  const std::string name = reference ? "trained checkpoint" : file_name(path);
  const auto id = [&](const std::string& figure) {
    return reference ? "archive." + figure : std::string("archive.info");
  };
  const auto bound = [&](double value) { return reference ? std::optional<double>(value) : std::nullopt; };
  if (model.quantizer.grid == Grid::quinary || model.quantizer.grid == Grid::ternary) {
    const auto published = need(bench::published_archive(model, threads), "the yardstick");
    add_share(figures, id("2"), name + ": codes / LZMA-9, smallest of four layouts", codes.stored,
              static_cast<double>(published.lzma_only_bytes), bound(95.0), bound(94.0));
    add_share(figures, "archive.info", name + ": file / published method", report.file_bytes,
              static_cast<double>(published.total()), {}, {});
    add_share(figures, "archive.info", name + ": fp8 / published method", fp8_of(report).stored,
              static_cast<double>(published.fp8_bytes), {}, {});
  }
  add_share(figures, "archive.info", name + ": codes / order-0 entropy", codes.stored,
            static_cast<double>(codes.order0), {}, {});
  add(figures, id("2.file"), name + ": whole artifact, 5-bit scales, no tokenizer",
      static_cast<double>(report.file_bytes), "bytes", bound(765000), bound(740000));
  std::uint64_t groups = 0;
  for (const StoredTensor& tensor : model.tensors)
    if (const auto* quantized = std::get_if<QuantizedTensor>(&tensor.data)) groups += quantized->scales.size();
  add(figures, id("6.scales"), name + ": 5-bit scales",
      8 * static_cast<double>(report.scale_bytes) / static_cast<double>(groups), "bits/group", bound(4.3), {},
      std::to_string(report.scale_bytes) + " bytes, " + std::to_string(groups) + " groups");
  add(figures, id("6.format"), name + ": bytes that are neither weights, scales nor vectors",
      static_cast<double>(overhead(report)), "bytes", bound(2048), {});
  if (reference) {
    Artifact with_tokenizer = artifact;
    TokenizerData& data = with_tokenizer.tokenizer.emplace(need(read_model_file(tokenizer), tokenizer).tokenizer);
    const std::size_t whole_map = data.normalizer_map.size();
    if (const Status status = compact_normalizer(data); !status)
      need(Result<int>(tl::unexpected(status.error())), tokenizer);
    const auto tokenizer_bytes = [&] {
      return static_cast<double>(
          need(predict_size(with_tokenizer), "the tokenizer").tokenizer_bytes);  // coded for real
    };
    add(figures, "archive.6.tokenizer", "tokenizer of 4,096 pieces", tokenizer_bytes(), "bytes", 25000, {},
        std::to_string(whole_map) + " bytes of normaliser map in it, which is not a built-in one, as " +
            std::to_string(data.normalizer_map.size()) + " of changes");
    data.normalizer_map.clear();
    add(figures, "archive.info", "the same without its normaliser map", tokenizer_bytes(), "bytes", {}, {});
    run_fp8(model, name, figures);
    run_thread_counts(artifact, name, figures);
    if (slow) run_effort_nine(artifact, name, threads, figures);
  }
  add(figures, id("9.end"), name + ": predicted size, off by", estimate_error(artifact, report.file_bytes, threads),
      "%", bound(0.1), {}, std::to_string(report.file_bytes) + " bytes packed", static_cast<int>(threads));
}

void run_structured(std::size_t threads, Figures& figures) {
  StoredModel model =
      need(bench::full_size_state(kSource, "quinary-16mb", bench::Structure::columns, 2), "the fixture");
  StoredModel four_bits = model;
  (void)apply_scale_bits(model, 5);
  const ScaleError four_cost = apply_scale_bits(four_bits, 4);
  const auto published = need(bench::published_archive(model, threads), "the yardstick");
  std::printf(
      "published method: %llu = codes %llu + fp8 %llu + scales %llu + vectors %llu bytes; lrzip won %llu parts\n",
      static_cast<unsigned long long>(published.total()), static_cast<unsigned long long>(published.quantised_bytes),
      static_cast<unsigned long long>(published.fp8_bytes), static_cast<unsigned long long>(published.scale_bytes),
      static_cast<unsigned long long>(published.vector_bytes), static_cast<unsigned long long>(published.lrzip_wins));
  const Artifact artifact = artifact_of(model);
  const Packed packed = pack(artifact, threads);
  const ArtifactReport& report = packed.encoded.report;
  const Streams codes = codes_of(report);
  const Streams fp8 = fp8_of(report);
  const int used = static_cast<int>(threads);
  add_share(figures, "archive.1", "structured state: artifact / published method", report.file_bytes,
            static_cast<double>(published.total()), 98.2, 97.5);
  add_share(figures, "archive.4", "structured state: codes / order-0 entropy", codes.stored,
            static_cast<double>(codes.order0), 97.6, {});
  add_share(figures, "archive.6.fp8", "structured state: fp8 / published method", fp8.stored,
            static_cast<double>(published.fp8_bytes), 98.0, {});
  add_share(figures, "archive.info", "structured state: fp8 / order-0 entropy", fp8.stored,
            static_cast<double>(fp8.order0), {}, {});
  add_share(figures, "archive.6.scales-full", "structured state: 5-bit scales / published method", report.scale_bytes,
            static_cast<double>(published.scale_bytes), 97.0, {});
  const PredictedSize with_four =
      need(predict_size(artifact_of(four_bits)), "the estimate");  // scales are coded for real
  add_share(figures, "archive.info", "structured state: 4-bit scales / published method's 5 bits",
            with_four.scale_bytes, static_cast<double>(published.scale_bytes), {}, {},
            "weights change by " + fixed(four_cost.rms_percent(), 2) + " % (root mean square)");
  add(figures, "archive.6.format-full", "structured state: bytes that are neither weights, scales nor vectors",
      static_cast<double>(overhead(report)), "bytes", 2048, {});
  add(figures, "archive.7.encode", "structured state: encode, default effort", packed.encode_seconds, "s", 60, {}, {},
      used);
  add(figures, "archive.7.decode", "structured state: decode", packed.decode_seconds, "s", 12, {}, {}, used);
  add(figures, "archive.7.memory", "structured state: encode, peak memory over the tensors", packed.peak_megabytes,
      "MB", 512, {}, {}, used);
  figures.add({"archive.info",
               "structured state: decode speed",
               static_cast<double>(codes.values + fp8.values) / packed.decode_processor_seconds / 1e6,
               "M symbols/s a core",
               {},
               {},
               Better::higher});
  double seconds = 0;
  const double error = estimate_error(artifact, report.file_bytes, threads, &seconds);
  add(figures, "archive.9.full", "structured state: predicted size, off by", error, "%", 0.1, {}, {}, used);
  add(figures, "archive.9.time", "structured state: time to predict", seconds, "s", 3, {}, {}, used);
}

void run_independent(std::size_t threads, Figures& figures) {
  for (const std::string preset : {"quinary-16mb", "ternary-16mb"}) {
    StoredModel model = need(bench::full_size_state(kSource, preset, bench::Structure::independent, 1), "the fixture");
    (void)apply_scale_bits(model, 5);
    const Artifact artifact = artifact_of(std::move(model));
    const Packed packed = pack(artifact, threads);
    const Streams codes = codes_of(packed.encoded.report);
    const std::string name = "independent state, " + preset;
    add(figures, preset == "quinary-16mb" ? "archive.3" : "archive.3.ternary",
        name + ": worst stream less 64 bytes / order-0 entropy", codes.worst, "%", 100.05, {});
    add(figures, "archive.9.independent", name + ": predicted size, off by",
        estimate_error(artifact, packed.encoded.report.file_bytes, threads), "%", 0.3, {}, {},
        static_cast<int>(threads));
  }
}

// What training passes through: half-way between the two states, and columns that are correlated.
void run_middle(std::size_t threads, Figures& figures) {
  LoadedConfig config;
  need(config.apply_file(kSource + "/configs/quinary-16mb.toml").map([] { return 0; }), "the preset");
  const auto run = [&](const std::string& id, const std::string& name, bench::Structure structure, double strength) {
    StoredModel model = need(
        bench::random_state(config.values().model, config.values().quantizer, structure, 3, strength), "the fixture");
    (void)apply_scale_bits(model, 5);
    const Artifact artifact = artifact_of(std::move(model));
    const Packed packed = pack(artifact, threads);
    add(figures, id, name + ": predicted size, off by",
        estimate_error(artifact, packed.encoded.report.file_bytes, threads), "%", 0.3, {}, {},
        static_cast<int>(threads));
  };
  run("archive.9.middle", "half-structured state", bench::Structure::columns, 0.5);
  run("archive.9.low-rank", "state with a tenth of rank 8", bench::Structure::low_rank, 1);
}

}  // namespace
}  // namespace par5

int main(int argc, char** argv) {
  std::string folder, state;
  bool slow = false;
  std::vector<std::pair<std::string, std::string>> checkpoints;  // with their configurations
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--long")
      slow = true;
    else if (argument == "--state" && i + 1 < argc)
      state = argv[++i];
    else if (argument == "--checkpoint" && i + 1 < argc)
      checkpoints.emplace_back(argv[++i], "");
    else if (argument == "--config" && i + 1 < argc && !checkpoints.empty())
      checkpoints.back().second = argv[++i];
    else
      folder = argument;
  }
  const std::size_t threads = std::min<std::size_t>(2, par5::thread_count(0));
  const char* named = std::getenv("PAR5_SHARED");
  const std::string data = (named ? named : par5::kSource + "/../shared") + "/data";
  const std::string reference = data + "/checkpoints/quinary-small-trained.safetensors";
  par5::bench::Figures figures("archive");
  if (par5::file_exists(reference))
    par5::run_checkpoint(reference, par5::kSource + "/configs/quinary-small.toml",
                         data + "/tokenizers/enwiki_4096.model", slow, threads, figures);
  else
    std::printf("no reference checkpoint at %s: its rows are left out (PAR5_SHARED names its folder)\n",
                reference.c_str());
  for (const auto& [path, config] : checkpoints) par5::run_checkpoint(path, config, "", slow, threads, figures);
  const auto wanted = [&](const char* name) { return slow && (state.empty() || state == name); };
  if (wanted("structured")) par5::run_structured(threads, figures);
  if (wanted("middle")) par5::run_middle(threads, figures);
  if (wanted("independent")) par5::run_independent(threads, figures);
  return figures.finish(folder);
}
