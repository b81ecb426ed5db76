// The exact engine over the weights of quinary-16mb, against the better of LibTorch's libraries (where the build has
// them) and plain dense kernels of the same instruction set. Every pair is first shown to give the same results.
//   par5-bench-engine [FOLDER [vectors | matrices | models]]: all parts, or one
#include <cstring>
#include <random>

#include "bench/engine_dense.h"
#include "bench/engine_library.h"
#include "bench/figures.h"
#include "core/half.h"
#include "engine/engine.h"
#include "engine/float_state.h"
#include "engine/kernels.h"
#include "engine/peaks.h"
#include "engine/products.h"
#include "engine/thread_pool.h"

using namespace par5;

namespace {

constexpr int kRepetitions = 7;

// All quantised matrices of a model in one kernel's formats, and products over all of them.
struct WeightSet {
  Arithmetic arithmetic;
  ThreadPool& pool;
  Products products;
  std::vector<PackedMatrix> matrices;
  std::size_t rows;
  Rows x, y;
  std::uint64_t bytes = 0;

  WeightSet(const Kernels& kernels, const StoredModel& model, std::size_t row_count, Arithmetic wanted, ThreadPool& run)
      : arithmetic(wanted), pool(run), products(kernels, wanted, run), rows(row_count) {
    const Packing packing = arithmetic == Arithmetic::int8   ? kernels.integer_packing
                            : arithmetic == Arithmetic::fp32 ? kernels.packing
                                                             : kernels.adds_packing;
    std::size_t widest = 0;
    for (const StoredTensor& tensor : model.tensors) {
      const MatrixRows all{&tensor, 0, tensor.spec.shape[0]};
      matrices.push_back(pack_matrix({&all, 1}, packing).value());
      bytes += matrices.back().bytes();
      widest = std::max(widest, matrices.back().inputs);
    }
    x.resize(rows, widest);
    std::mt19937 generator(2);
    std::normal_distribution<float> normal;
    for (float& value : x.values) value = normal(generator);
  }

  void pass() {
    for (const PackedMatrix& matrix : matrices) {
      products.reserve(matrix, rows);
      if (arithmetic != Arithmetic::fp32)
        pool.run(rows, [&](std::size_t row, std::size_t) { products.convert(x[row], matrix, row, rows); });
      products.multiply(x, matrix, rows, y);
    }
  }
};

StoredModel random_weights(const ModelConfig& config, const QuantizerConfig& quantizer, bool quantized_only) {
  StoredModel model{config, quantizer, {}};
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  for (const TensorSpec& spec : tensor_specs(config)) {
    if (quantized_only && spec.storage != Storage::quantized) continue;
    std::vector<float> values(static_cast<std::size_t>(element_count(spec.shape)));
    for (float& value : values) value = normal(generator) + (spec.calibration ? 1.0f : 0.0f);
    model.tensors.push_back(store_tensor(spec, values, quantizer).value());
  }
  return model;
}

double smallest(const std::vector<double>& values) { return *std::min_element(values.begin(), values.end()); }

// Seconds of every piece of work, interleaved a b c a b c … after a warm-up. One thread: its processor time, so that a
// busy machine disturbs less; several: the wall clock.
using Works = std::vector<std::function<void()>>;
std::vector<std::vector<double>> interleaved(const Works& works, std::size_t threads) {
  std::vector<std::vector<double>> times(works.size());
  for (int i = 0; i <= kRepetitions; ++i)
    for (std::size_t w = 0; w < works.size(); ++w) {
      if (!works[w]) continue;
      const double start = thread_seconds();
      const double wall = bench::seconds_of(works[w]);
      if (i > 0) times[w].push_back(threads == 1 ? thread_seconds() - start : wall);
    }
  return times;
}

std::string milliseconds(const std::vector<double>& seconds) { return fixed(1e3 * smallest(seconds), 3) + " ms"; }

// The last matrix's results over a few rows: ours are scalar code's bits; adds-only is near fp32.
void check(const Kernels& kernels, const StoredModel& model, Arithmetic arithmetic) {
  StoredModel last = model;
  last.tensors = {model.tensors.back()};
  ThreadPool pool(1);
  WeightSet ours(kernels, last, 3, arithmetic, pool), scalar(scalar_kernels(), last, 3, arithmetic, pool);
  ours.pass();
  scalar.pass();
  for (std::size_t r = 0; r < 3; ++r)
    if (std::memcmp(ours.y[r], scalar.y[r], ours.matrices[0].outputs * sizeof(float)) != 0) std::abort();
}

double largest_difference(const Kernels& kernels, const StoredModel& model) {
  ThreadPool pool(1);
  StoredModel last = model;
  last.tensors = {model.tensors.back()};
  WeightSet adds(kernels, last, 1, Arithmetic::fp32_adds, pool), fused(kernels, last, 1, Arithmetic::fp32, pool);
  adds.pass();
  fused.pass();
  double difference = 0, magnitude = 0;
  for (std::size_t o = 0; o < adds.matrices[0].outputs; ++o) {
    difference = std::max(difference, std::fabs(static_cast<double>(adds.y[0][o] - fused.y[0][o])));
    magnitude = std::max(magnitude, std::fabs(static_cast<double>(fused.y[0][o])));
  }
  return difference / magnitude;
}

// One ratio: `ours` against the faster of `others`.
void add_ratio(bench::Figures& figures, const std::string& id, const std::string& what, std::optional<double> must,
               std::optional<double> aim, std::size_t threads, const std::vector<double>& ours,
               const std::vector<const std::vector<double>*>& others, const std::string& detail) {
  bench::Figure figure;
  figure.lowest = figure.median = 1e30;
  for (const auto* other : others) {
    if (other->empty()) continue;
    figure.lowest = std::min(figure.lowest, smallest(*other) / smallest(ours));
    figure.median = std::min(figure.median, bench::median(*other) / bench::median(ours));
  }
  if (figure.lowest > 1e29) return;
  figure.id = id, figure.what = what, figure.unit = "x", figure.must = must, figure.aim = aim;
  figure.value = figure.lowest, figure.threads = static_cast<int>(threads), figure.repetitions = kRepetitions;
  figure.detail = "ours " + milliseconds(ours) + "; " + detail;
  figures.add(figure);
}

struct Setting {
  const StoredModel& weights;
  std::vector<std::vector<float>> dense;
  std::vector<std::vector<std::uint16_t>> narrow;
  double count;
  Peaks peaks;
};

std::string share(double rate, double peak, const std::string& of) {
  return peak > 0 ? ", " + fixed(100 * rate / peak, 0) + "% of " + of : std::string();
}

// Figures 1, 2 and 4: one row.
void matrix_vector(bench::Figures& figures, const Setting& setting, std::size_t threads) {
  ThreadPool pool(threads);
  bench::set_library_threads(static_cast<int>(threads));
  const auto library_fp32 = bench::library_products(setting.weights, 1, bench::LibraryType::float32);
  const auto library_bf16 = bench::library_products(setting.weights, 1, bench::LibraryType::bfloat16);
  for (const Kernels* kernels : available_kernels()) {
    const bench::Dense plain = bench::dense_fp32(kernels->name);
    if (!plain) continue;
    const std::string_view name = kernels->name;
    const bool first = name == "avx512-vnni";
    for (const Arithmetic arithmetic : arithmetics()) {
      check(*kernels, setting.weights, arithmetic);
      WeightSet set(*kernels, setting.weights, 1, arithmetic, pool);
      const std::size_t parts = 2 * threads;
      const auto dense = [&] {
        for (std::size_t m = 0; m < setting.dense.size(); ++m)
          pool.run(parts, [&](std::size_t part, std::size_t) {
            const std::size_t inputs = set.matrices[m].inputs, count = set.matrices[m].outputs / parts;
            plain(setting.dense[m].data() + part * count * inputs, set.x[0], count, inputs, set.y[0] + part * count);
          });
      };
      std::vector<std::uint16_t> ones(set.x.stride, 0x3f80);
      std::function<void()> narrow;
      if (bench::dense_bf16() && first)
        narrow = [&] {
          for (std::size_t m = 0; m < setting.narrow.size(); ++m)
            pool.run(parts, [&](std::size_t part, std::size_t) {
              const std::size_t inputs = set.matrices[m].inputs, count = set.matrices[m].outputs / parts;
              bench::dense_bf16()(setting.narrow[m].data() + part * count * inputs, ones.data(), count, inputs,
                                  set.y[0] + part * count);
            });
        };
      const auto times = interleaved(
          {[&] { set.pass(); }, dense, library_fp32, narrow, first ? library_bf16 : std::function<void()>()}, threads);
      const double rate = setting.count / smallest(times[0]);
      const std::string own =
          fixed(rate / 1e9, 1) + " Gweights/s" +
          share(static_cast<double>(set.bytes) / smallest(times[0]), setting.peaks.read, "one thread's memory reading");
      const std::string detail = "dense fp32 " + milliseconds(times[1]) +
                                 (times[2].empty() ? "" : ", MKL " + milliseconds(times[2])) + "; " + own;
      const std::string what =
          std::string(arithmetic_name(arithmetic)) + " 1 row, " + std::string(name) + ", against fp32";
      const bool int8 = arithmetic == Arithmetic::int8, adds = arithmetic == Arithmetic::fp32_adds;
      std::string id = "engine.info";
      std::optional<double> must, aim;
      if (int8 && first) id = "engine.1", must = 8.0, aim = 11.2;
      if (int8 && name == "avx512-table") id = "engine.2", must = 4.0;
      if (adds && first) id = "engine.2", must = 2.0;
      if (int8 && name == "avx2") id = "engine.4", must = 6.0;
      if (threads > 1) must = aim = std::nullopt;
      // MKL takes AVX-512 where the CPU has it; figure 4 is about AVX2 alone.
      if (id == "engine.4") {
        add_ratio(figures, id, what + " of the same", must, aim, threads, times[0], {&times[1]}, detail);
        id = "engine.info", must = aim = std::nullopt;
      }
      add_ratio(figures, id, what, must, aim, threads, times[0], {&times[1], &times[2]}, detail);
      if (!times[3].empty() && int8)
        add_ratio(
            figures, "engine.1", "int8 1 row, avx512-vnni, against bf16",
            threads == 1 ? std::optional(3.5) : std::nullopt, threads == 1 ? std::optional(5.4) : std::nullopt, threads,
            times[0], {&times[3], &times[4]},
            "dense bf16 " + milliseconds(times[3]) + (times[4].empty() ? "" : ", oneDNN " + milliseconds(times[4])));
    }
  }
  if (threads > 1) return;
  bench::Figure difference;
  difference.id = "engine.2", difference.what = "fp32-adds: largest difference from fp32";
  difference.value = largest_difference(*available_kernels().front(), setting.weights);
  difference.unit = "relative", difference.must = 1e-4, difference.better = bench::Better::lower;
  figures.add(difference);
}

// Figures 2, 3 and 5: several rows.
void matrix_matrix(bench::Figures& figures, const Setting& setting, std::size_t threads) {
  ThreadPool pool(threads);
  bench::set_library_threads(static_cast<int>(threads));
  const auto thread_count = static_cast<double>(threads);
  for (const std::size_t rows : {8u, 32u, 128u}) {
    const auto mkl =
        bench::library_products(setting.weights, static_cast<std::int64_t>(rows), bench::LibraryType::float32);
    const auto onednn =
        bench::library_products(setting.weights, static_cast<std::int64_t>(rows), bench::LibraryType::bfloat16);
    for (const Kernels* kernels : available_kernels()) {
      const std::string_view name = kernels->name;
      if (!bench::dense_fp32(name)) continue;
      const bool vnni = name == "avx512-vnni", table = name == "avx512-table", avx2 = name == "avx2";
      WeightSet integers(*kernels, setting.weights, rows, Arithmetic::int8, pool),
          floats(*kernels, setting.weights, rows, Arithmetic::fp32, pool);
      const auto times = interleaved({[&] { integers.pass(); }, [&] { floats.pass(); }, mkl, onednn}, threads);
      const double operations = 2.0 * setting.count * static_cast<double>(rows);
      const auto rate = [&](const std::vector<double>& seconds, double peak, const char* unit, const char* of) {
        const double per_second = operations / smallest(seconds);
        return fixed(per_second / 1e9, 0) + " " + unit + share(per_second, peak * thread_count, of);
      };
      const std::string libraries =
          mkl ? "MKL " + milliseconds(times[2]) + ", oneDNN bf16 " + milliseconds(times[3]) + "; " : "";
      const std::string row_text = std::to_string(rows) + " rows, " + std::string(name);
      const std::string int8_rate = rate(times[0], setting.peaks.int8, "GOP/s", "the int8 peak");
      const std::string fp32_rate =
          rate(times[1], avx2 ? setting.peaks.fp32_avx2 : setting.peaks.fp32, "GFLOP/s", "the fp32 peak");
      const bool binding = threads == 1;
      const double wanted = rows == 8 ? 2.2 : rows == 32 ? 1.8 : 1.6;
      const auto bound = [&](bool is, double value) { return is && binding ? std::optional(value) : std::nullopt; };
      add_ratio(figures, vnni ? "engine.3" : "engine.info", "int8 " + row_text + ", against bf16", bound(vnni, wanted),
                {}, threads, times[0], {&times[3]}, libraries + int8_rate);
      std::string id = "engine.info";
      if (vnni) id = "engine.3";
      if (table && rows != 32) id = "engine.2";
      add_ratio(figures, id, "int8 " + row_text + ", against MKL fp32",
                vnni ? bound(true, 3.5) : bound(id != "engine.info", 1.0), {}, threads, times[0], {&times[2]},
                libraries + int8_rate);
      add_ratio(figures, "engine.info", "int8 " + row_text + ", against our fp32", {}, {}, threads, times[0],
                {&times[1]}, "ours fp32 " + milliseconds(times[1]));
      const bool five = rows == 128 && (vnni || avx2);
      add_ratio(figures, five ? "engine.5" : "engine.info", "fp32 " + row_text + ", against MKL fp32",
                bound(five, avx2 ? 0.6 : 1.0), bound(five && vnni, 1.5), threads, times[1], {&times[2]},
                libraries + fp32_rate);
    }
  }
}

void add_value(bench::Figures& figures, const std::string& id, const std::string& what, double value,
               const std::string& unit, std::optional<double> must, const std::string& detail = {}) {
  bench::Figure figure;
  figure.id = id, figure.what = what, figure.value = figure.lowest = figure.median = value, figure.unit = unit;
  figure.must = must, figure.detail = detail;
  figures.add(figure);
}

std::vector<std::uint16_t> some_tokens(std::size_t count, std::int64_t vocab) {
  std::vector<std::uint16_t> tokens(count);
  for (std::size_t i = 0; i < count; ++i)
    tokens[i] = static_cast<std::uint16_t>(i * 7919 % static_cast<std::size_t>(vocab));
  return tokens;
}

constexpr std::size_t kPrompt = 256, kGenerated = 16, kScored = 512;

// Tokens one after the other, each drawn from the distribution that the engine gives.
void generate(Engine& engine, Windows& windows, std::vector<float>& probabilities,
              std::span<const std::uint16_t> text) {
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> uniform;
  windows.truncate(0, static_cast<std::int64_t>(kPrompt));
  std::uint16_t token = text[kPrompt];
  for (std::size_t t = 0; t < kGenerated; ++t) {
    const WindowInput one{0, {&token, 1}, 0};
    (void)engine.append(windows, {&one, 1}, [&](std::int64_t, std::int64_t, std::span<const float> logits) {
      engine.log_probabilities(logits, 1.0, probabilities);
      return Status();
    });
    float left = uniform(generator);
    std::size_t next = 0;
    while (next + 1 < probabilities.size() && (left -= std::exp(probabilities[next])) > 0) ++next;
    token = static_cast<std::uint16_t>(next);
  }
}

// Figures 6 and 7: whole models.
void whole_model(bench::Figures& figures, const StoredModel& model, std::size_t threads) {
  bench::set_library_threads(static_cast<int>(threads));
  const auto library = bench::library_model(model);
  const auto tokens = some_tokens(kScored + 1, model.model.vocab);
  std::vector<float> probabilities(static_cast<std::size_t>(model.model.vocab));
  if (library)
    for (std::size_t t = 0; t <= kPrompt; ++t) (void)library->next(tokens[t], static_cast<std::int64_t>(t));
  for (const Arithmetic arithmetic : {Arithmetic::fp32, Arithmetic::int8}) {
    std::vector<double> load;
    for (int i = 0; i < 3; ++i)
      load.push_back(bench::seconds_of([&] { (void)Engine::create(model, {arithmetic, "", threads}); }));
    Engine engine = Engine::create(model, {arithmetic, "", threads}).value();
    Windows windows = engine.make_windows(1, static_cast<std::int64_t>(kScored)).value();
    double ours = 0, theirs = 0, fused = 0;
    const auto score = [&] {
      ours = 0;
      windows.truncate(0, 0);
      const WindowInput input{0, std::span(tokens).first(kScored), 0};
      const auto vocab = static_cast<std::size_t>(model.model.vocab);
      (void)engine.append(windows, {&input, 1}, [&](std::int64_t row, std::int64_t rows, std::span<const float> z) {
        probabilities.resize(z.size());
        engine.log_probabilities(z, 1.0, probabilities);
        for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r)
          ours -= static_cast<double>(probabilities[r * vocab + tokens[static_cast<std::size_t>(row) + r + 1]]);
        return Status();
      });
      probabilities.resize(vocab);
    };
    score();
    Works works = {[&] { generate(engine, windows, probabilities, tokens); }, score};
    if (library) {
      works.push_back([&] {
        std::uint16_t token = tokens[kPrompt];
        for (std::size_t t = 0; t < kGenerated; ++t) {
          (void)library->next(token, static_cast<std::int64_t>(kPrompt + t));
          token = library->sample();
        }
      });
      works.push_back([&] { theirs = library->score(tokens); });
      works.push_back([&] { fused = library->fused_score(tokens); });
    }
    const auto times = interleaved(works, threads);
    const std::string name = std::string(arithmetic_name(arithmetic)) + ", " + std::string(engine.kernel());
    const bool int8 = arithmetic == Arithmetic::int8;
    const auto rate = [](std::size_t count, const std::vector<double>& seconds) {
      return fixed(static_cast<double>(count) / smallest(seconds), 1) + " tokens/s";
    };
    if (library) {
      if (!int8 && std::max(std::fabs(ours - theirs), std::fabs(ours - fused)) > 1e-5 * theirs) std::abort();
      add_ratio(figures, int8 ? "engine.6" : "engine.info", "generation, " + name + ", against eager LibTorch fp32",
                int8 ? std::optional(6.0) : std::nullopt, {}, threads, times[0], {&times[2]},
                rate(kGenerated, times[0]) + ", LibTorch " + rate(kGenerated, times[2]) + "; weights made ready in " +
                    milliseconds(load));
      add_ratio(figures, "engine.7", "scoring, " + name + ", against eager LibTorch fp32", int8 ? 2.0 : 1.3, {},
                threads, times[1], {&times[3]},
                rate(kScored, times[1]) + ", LibTorch " + rate(kScored, times[3]) + "; " + fixed(ours, 4) + " and " +
                    fixed(theirs, 4) + " nats");
      add_ratio(figures, "engine.info", "scoring, " + name + ", against our fused LibTorch scorer", {}, {}, threads,
                times[1], {&times[4]}, rate(kScored, times[1]) + ", fused " + rate(kScored, times[4]));
    } else {
      add_value(figures, "engine.info", "generation, " + name, static_cast<double>(kGenerated) / smallest(times[0]),
                "tokens/s", {});
      add_value(figures, "engine.info", "scoring, " + name, static_cast<double>(kScored) / smallest(times[1]),
                "tokens/s", {});
    }
  }
}

void resident_bytes(bench::Figures& figures, const StoredModel& model) {
  double all = 0, quantized = 0;
  for (const StoredTensor& tensor : model.tensors) {
    const double bytes = 4.0 * static_cast<double>(element_count(tensor.spec.shape));
    all += bytes;
    if (tensor.spec.storage == Storage::quantized) quantized += bytes;
  }
  for (const std::string& kernel : kernel_names()) {
    if (kernel != "avx512-vnni" && kernel != "avx2") continue;
    for (const Arithmetic arithmetic : {Arithmetic::fp32, Arithmetic::int8}) {
      const Engine engine = Engine::create(model, {arithmetic, kernel, 1}).value();
      const std::string name = std::string(arithmetic_name(arithmetic)) + ", " + kernel;
      const auto bytes = static_cast<std::int64_t>(engine.weight_bytes()),
                 packed = static_cast<std::int64_t>(engine.quantized_bytes());
      const bool best = kernel == "avx512-vnni";
      add_value(figures, "engine.6", "quantised layers: fp32 bytes / resident bytes, " + name,
                quantized / static_cast<double>(packed), "x", best ? std::optional(11.0) : std::nullopt,
                grouped(packed) + " bytes");
      add_value(figures, "engine.6", "all weights: fp32 bytes / resident bytes, " + name,
                all / static_cast<double>(bytes), "x", best ? 8.5 : 6.5, grouped(bytes) + " bytes");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const FloatState float_state;
  bench::Figures figures("engine");
  const ModelConfig config;
  const QuantizerConfig quantizer;
  const StoredModel weights = random_weights(config, quantizer, true);
  Setting setting{weights, {}, {}, static_cast<double>(count_parameters(config).quantized), measure_peaks(13 << 20)};
  for (const StoredTensor& tensor : weights.tensors) {
    setting.dense.push_back(tensor.values());
    std::vector<std::uint16_t>& narrow = setting.narrow.emplace_back();
    for (const float value : setting.dense.back()) narrow.push_back(bfloat16_from_float(value));
  }
  const Peaks& peaks = setting.peaks;
  std::fprintf(stderr,
               "%s\npeaks of one thread: fp32 %.0f (AVX2 %.0f), bf16 %.0f GFLOP/s, int8 %.0f GOP/s, reads %.1f GB/s\n",
               bench::library_name().c_str(), peaks.fp32 / 1e9, peaks.fp32_avx2 / 1e9, peaks.bf16 / 1e9,
               peaks.int8 / 1e9, peaks.read / 1e9);
  const StoredModel model = random_weights(config, quantizer, false);
  const std::string_view only = argc > 2 && argv[2] != std::string_view("--long") ? argv[2] : "";
  const auto wanted = [&](const char* part) { return only.empty() || only == part; };
  for (const std::size_t threads : {1u, 2u}) {
    if (wanted("vectors")) matrix_vector(figures, setting, threads);
    if (wanted("matrices")) matrix_matrix(figures, setting, threads);
    if (wanted("models")) whole_model(figures, model, threads);
  }
  if (wanted("models")) resident_bytes(figures, model);
  return figures.finish(argc > 1 ? argv[1] : "");
}
