// The exact engine's kernels over the weights of quinary-16mb, against a plain dense float32 kernel of the same
// instruction set, and whole models. Every pair of kernels is first shown to give the same bits.
#include <cstring>
#include <random>

#if defined(__x86_64__)
#pragma GCC diagnostic push
#if defined(__GNUC__) && !defined(__clang__)
// g++ 12's own header starts some results from themselves (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif
#include <time.h>

#include "bench/figures.h"
#include "engine/engine.h"
#include "engine/float_state.h"
#include "engine/kernels.h"

using namespace par5;

namespace {

constexpr int kRepetitions = 7;

// A plain dense kernel: row-major weights, several sums per output, fused multiply-adds.
#if defined(__x86_64__)
__attribute__((target("avx512f"))) void dense_avx512(const float* w, const float* x, std::size_t outputs,
                                                     std::size_t inputs, float* y) {
  for (std::size_t o = 0; o < outputs; ++o, w += inputs) {
    __m512 a = _mm512_setzero_ps(), b = a, c = a, d = a;
    for (std::size_t i = 0; i < inputs; i += 64) {
      a = _mm512_fmadd_ps(_mm512_loadu_ps(w + i), _mm512_loadu_ps(x + i), a);
      b = _mm512_fmadd_ps(_mm512_loadu_ps(w + i + 16), _mm512_loadu_ps(x + i + 16), b);
      c = _mm512_fmadd_ps(_mm512_loadu_ps(w + i + 32), _mm512_loadu_ps(x + i + 32), c);
      d = _mm512_fmadd_ps(_mm512_loadu_ps(w + i + 48), _mm512_loadu_ps(x + i + 48), d);
    }
    y[o] = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)));
  }
}
__attribute__((target("avx2,fma"))) void dense_avx2(const float* w, const float* x, std::size_t outputs,
                                                    std::size_t inputs, float* y) {
  for (std::size_t o = 0; o < outputs; ++o, w += inputs) {
    __m256 sums[8];
    for (auto& sum : sums) sum = _mm256_setzero_ps();
    for (std::size_t i = 0; i < inputs; i += 64)
      for (std::size_t k = 0; k < 8; ++k)
        sums[k] = _mm256_fmadd_ps(_mm256_loadu_ps(w + i + 8 * k), _mm256_loadu_ps(x + i + 8 * k), sums[k]);
    float lanes[8] = {};
    for (const auto& sum : sums)
      for (int lane = 0; lane < 8; ++lane) lanes[lane] += sum[lane];
    y[o] = 0;
    for (const float lane : lanes) y[o] += lane;
  }
}
#endif

using Dense = void (*)(const float*, const float*, std::size_t, std::size_t, float*);

Dense dense_for(std::string_view kernel) {
#if defined(__x86_64__)
  if (kernel.starts_with("avx512")) return dense_avx512;
  if (kernel == "avx2") return dense_avx2;
#endif
  (void)kernel;
  return nullptr;
}

// All quantised matrices of a model, in one kernel's formats, and products over all of them.
struct WeightSet {
  const Kernels& kernels;
  std::vector<PackedMatrix> matrices;
  std::size_t rows;
  AlignedVector<float> x, y, panel;
  AlignedVector<std::uint32_t> words;
  std::vector<std::int32_t> starts;
  std::vector<float> steps;

  WeightSet(const Kernels& chosen, const StoredModel& model, std::size_t row_count, bool int8)
      : kernels(chosen), rows(row_count) {
    for (const StoredTensor& tensor : model.tensors) {
      if (!std::holds_alternative<QuantizedTensor>(tensor.data)) continue;
      const MatrixRows all{&tensor, 0, tensor.spec.shape[0]};
      matrices.push_back(pack_matrix({&all, 1}, int8 ? kernels.integer_packing : kernels.packing).value());
    }
    x.resize(rows * 4096);
    std::mt19937 generator(2);
    std::normal_distribution<float> normal;
    for (float& value : x) value = normal(generator);
    y.resize(rows * 4096);
    panel.resize(384 * kBlock);
    words.resize(rows * 4096 / 3 * kTableWords);
    starts.resize(rows * 4096);
    steps.resize(rows);
  }

  void int8_pass() {
    for (const PackedMatrix& matrix : matrices) {
      const std::size_t count = activation_words(matrix);
      for (std::size_t r = 0; r < rows; ++r)
        kernels.quantize_row(x.data() + r * 4096, matrix,
                             {words.data() + r * count, starts.data() + r * matrix.groups, &steps[r]});
      kernels.integer_product(matrix, 0, matrix.blocks(), {words.data(), starts.data(), steps.data(), rows}, y.data(),
                              4096);
    }
  }
  void fp32_pass() {
    const std::size_t at_once = rows < 8 ? 96 : 384;
    for (const PackedMatrix& matrix : matrices)
      for (std::size_t block = 0; block < matrix.blocks(); ++block)
        for (std::size_t first = 0; first < matrix.inputs; first += at_once) {
          const std::size_t count = std::min(at_once, matrix.inputs - first);
          kernels.decode(matrix, block, first, count, panel.data());
          kernels.product(x.data() + first, 4096, rows, panel.data(), kBlock, count, kBlock, first == 0,
                          y.data() + block * kBlock, 4096);
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

// Processor time of this thread, so that a busy machine disturbs less; both interleaved, after a warm-up.
double thread_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}
bench::Paired interleaved(const std::function<void()>& first, const std::function<void()>& second) {
  bench::Paired times;
  for (int i = 0; i <= kRepetitions; ++i)
    for (const bool is_first : {true, false}) {
      const double start = thread_seconds();
      (is_first ? first : second)();
      if (i > 0) (is_first ? times.first : times.second).push_back(thread_seconds() - start);
    }
  return times;
}

// The last matrix's results are those of scalar code, over a few rows.
bool agrees(const Kernels& kernels, const StoredModel& model, bool int8) {
  StoredModel last = model;
  last.tensors = {model.tensors.back()};
  WeightSet ours(kernels, last, 3, int8), scalar(scalar_kernels(), last, 3, int8);
  for (WeightSet* one : {&ours, &scalar}) int8 ? one->int8_pass() : one->fp32_pass();
  for (std::size_t r = 0; r < 3; ++r)
    if (std::memcmp(ours.y.data() + r * 4096, scalar.y.data() + r * 4096, ours.matrices[0].outputs * sizeof(float)) !=
        0)
      return false;
  return true;
}

void matrix_vector(bench::Figures& figures, const StoredModel& model, double weights) {
  std::vector<std::vector<float>> dense;
  for (const StoredTensor& tensor : model.tensors) dense.push_back(tensor.values());
  for (const Kernels* kernels : available_kernels()) {
    const Dense plain = dense_for(kernels->name);
    if (!plain) continue;
    const std::string_view name = kernels->name;
    for (const bool int8 : {true, false}) {
      if (!agrees(*kernels, model, int8)) std::abort();
      WeightSet set(*kernels, model, 1, int8);
      const auto times = interleaved([&] { int8 ? set.int8_pass() : set.fp32_pass(); },
                                     [&] {
                                       for (std::size_t m = 0; m < dense.size(); ++m)
                                         plain(dense[m].data(), set.x.data(), set.matrices[m].outputs,
                                               set.matrices[m].inputs, set.y.data());
                                     });
      bench::Figure figure;
      figure.id = !int8                    ? "engine.info"
                  : name == "avx512-vnni"  ? "engine.1"
                  : name == "avx512-table" ? "engine.2"
                  : name == "avx2"         ? "engine.4"
                                           : "engine.info";
      if (figure.id == "engine.1") figure.must = 8.0, figure.aim = 11.2;
      if (figure.id == "engine.2") figure.must = 4.0;
      if (figure.id == "engine.4") figure.must = 6.0;
      figure.what = std::string(int8 ? "int8" : "fp32") + " matrix-vector, " + kernels->name + ", against dense fp32";
      figure.unit = "x";
      figure.repetitions = kRepetitions;
      figure.value = figure.lowest = smallest(times.second) / smallest(times.first);
      figure.median = bench::median(times.second) / bench::median(times.first);
      figure.detail = "packed " + fixed(1e3 * smallest(times.first), 3) + " ms, dense " +
                      fixed(1e3 * smallest(times.second), 3) + " ms, " +
                      fixed(weights / smallest(times.first) / 1e9, 1) + " Gweights/s";
      figures.add(figure);
    }
  }
}

void matrix_matrix(bench::Figures& figures, const StoredModel& model) {
  StoredModel part = model;
  part.tensors.resize(std::min<std::size_t>(8, part.tensors.size()));
  double counted = 0;
  for (const StoredTensor& tensor : part.tensors) counted += static_cast<double>(element_count(tensor.spec.shape));
  for (const Kernels* kernels : available_kernels()) {
    if (!dense_for(kernels->name)) continue;
    for (const std::size_t rows : {8u, 32u, 128u}) {
      WeightSet integers(*kernels, part, rows, true), floats(*kernels, part, rows, false);
      const auto times = interleaved([&] { integers.int8_pass(); }, [&] { floats.fp32_pass(); });
      const double operations = 2.0 * counted * static_cast<double>(rows) / 1e9;
      for (const bool int8 : {true, false}) {
        const auto& seconds = int8 ? times.first : times.second;
        bench::Figure figure;
        figure.id = "engine.info";
        figure.what =
            std::string(int8 ? "int8" : "fp32") + " matrix-matrix, " + std::to_string(rows) + " rows, " + kernels->name;
        figure.value = figure.lowest = operations / smallest(seconds);
        figure.unit = int8 ? "GOP/s" : "GFLOP/s";
        figure.repetitions = kRepetitions;
        figure.median = operations / bench::median(seconds);
        figures.add(figure);
      }
    }
  }
}

// Tokens a second of a whole model with random weights: a window at once, and one token at a time after it.
void whole_model(bench::Figures& figures, const StoredModel& model, const std::string& name) {
  constexpr std::size_t kPrompt = 256, kGenerated = 32;
  std::vector<std::uint16_t> tokens(kPrompt + kGenerated);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<std::uint16_t>(i * 7919 % static_cast<std::size_t>(model.model.vocab));
  const auto ignore = [](std::int64_t, std::int64_t, std::span<const float>) { return Status(); };
  for (const Arithmetic arithmetic : {Arithmetic::fp32, Arithmetic::int8})
    for (const std::size_t threads : {1u, 2u}) {
      Engine engine = Engine::create(model, {arithmetic, "", threads}).value();
      Windows windows = engine.make_windows(1, static_cast<std::int64_t>(tokens.size())).value();
      std::vector<double> prompt, generated;
      for (int i = 0; i < 4; ++i) {
        windows.truncate(0, 0);
        const WindowInput input{0, std::span(tokens).first(kPrompt), 0};
        prompt.push_back(bench::seconds_of([&] { (void)engine.append(windows, {&input, 1}, ignore); }));
        generated.push_back(bench::seconds_of([&] {
          for (std::size_t t = 0; t < kGenerated; ++t) {
            const WindowInput one{0, std::span(tokens).subspan(kPrompt + t, 1), 0};
            (void)engine.append(windows, {&one, 1}, ignore);
          }
        }));
      }
      const std::string what =
          name + ", " + std::string(arithmetic_name(arithmetic)) + ", " + std::string(engine.kernel());
      const auto add = [&](const std::string& kind, std::size_t count, const std::vector<double>& seconds) {
        const double best = static_cast<double>(count) / smallest(seconds);
        figures.add({"engine.info",
                     what + ": " + kind,
                     best,
                     "tokens/s",
                     {},
                     {},
                     bench::Better::higher,
                     static_cast<int>(threads),
                     4,
                     best,
                     static_cast<double>(count) / bench::median(seconds),
                     "weights " + grouped(static_cast<std::int64_t>(engine.weight_bytes())) + " bytes, quantised " +
                         grouped(static_cast<std::int64_t>(engine.quantized_bytes()))});
      };
      add("scoring", kPrompt, prompt);
      add("one by one", kGenerated, generated);
    }
}

}  // namespace

int main(int argc, char** argv) {
  const FloatState float_state;
  bench::Figures figures("engine");
  const ModelConfig config;
  const QuantizerConfig quantizer;
  const StoredModel weights = random_weights(config, quantizer, true);
  const auto count = static_cast<double>(count_parameters(config).quantized);
  matrix_vector(figures, weights, count);
  matrix_matrix(figures, weights);
  whole_model(figures, random_weights(config, quantizer, false), "quinary-16mb");
  return figures.finish(argc > 1 ? argv[1] : "");
}
