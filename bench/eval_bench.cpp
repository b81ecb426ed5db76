// Scoring by sliding windows and one epoch of scalars-only test-time training, each against the plain way of doing it.
//
// eval.1: TorchScorer (head and last block for scored positions only, the first block's per-token work shared between
//         windows, fused kernels) against the published program's way: every position of every window through plain
//         LibTorch operations and the whole head. The baseline also runs in a process of its own with malloc as it is.
// eval.2: gradients of the calibration tensors alone against gradients of all weights, by the same kernels, so that the
//         updates must be equal; all that the former can do besides is to pack the frozen weights once. And against all
//         gradients by plain LibTorch operations, for information.
// eval.4: (long, where the shared data is) learning beside its own arm at learning rate 0, on enwiki-long's whole val.
// eval.5: the largest difference in bpb between batches of 1, 7 and 32 windows and 1 and 2 threads.
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>

#include "bench/figures.h"
#include "eval/broker.h"
#include "eval/torch/torch_learner.h"
#include "eval/torch/torch_scorer.h"
#include "model/runtime.h"

using namespace par5;

namespace {

constexpr std::int64_t kWindow = 1024, kStride = 16, kVocab = 16384;

struct Case {
  std::int64_t width, heads, embedding_width, windows;
  double must;
};
constexpr Case kNarrow{192, 4, 128, 8, 1.7}, kWide{576, 6, 380, 4, 1.35};

// CPU seconds of all threads: right on a busy machine too, where one thread runs.
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

template <class Work>
double measure(Work&& work) {
  const double begin = cpu_seconds();
  work();
  return cpu_seconds() - begin;
}

StoredModel random_model(const Case& shape) {
  StoredModel stored;
  stored.model.width = shape.width;
  stored.model.embedding_width = shape.embedding_width;
  stored.model.mlp_width = 4 * shape.width;
  stored.model.heads = shape.heads;
  stored.model.kv_heads = shape.heads / 2;
  stored.model.vocab = kVocab;
  std::mt19937 random(7);
  for (const TensorSpec& spec : tensor_specs(stored.model)) {
    std::vector<float> values(static_cast<std::size_t>(element_count(spec.shape)));
    std::normal_distribution<float> normal(spec.calibration ? 1.0f : 0.0f, spec.calibration ? 0.1f : 0.05f);
    for (float& value : values) value = normal(random);
    stored.tensors.push_back(*store_tensor(spec, values, stored.quantizer));
  }
  return stored;
}

std::vector<std::uint16_t> random_tokens(std::int64_t count) {
  std::mt19937 random(8);
  std::vector<std::uint16_t> tokens;
  for (std::int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<std::uint16_t>(random() % kVocab));
  return tokens;
}

// The sliding windows behind the first one, which is like a chunk.
std::vector<Window> later_windows(std::int64_t windows) {
  std::vector<Window> plan;
  for (std::int64_t w = 0; w < windows; ++w) plan.push_back({w * kStride, kWindow, kWindow - kStride});
  return plan;
}

// The plain scorer: two windows at a time, all positions, all logits. Nats of the scored targets in order.
std::vector<float> eager_nats(Network& network, std::span<const std::uint16_t> tokens, std::int64_t windows) {
  const torch::NoGradGuard no_gradients;
  std::vector<float> nats;
  for (std::int64_t first = 0; first < windows; first += 2) {
    torch::Tensor inputs = torch::empty({2, kWindow}, torch::kInt64),
                  targets = torch::empty({2, kWindow}, torch::kInt64);
    for (std::int64_t w = 0; w < 2; ++w)
      for (std::int64_t p = 0; p < kWindow; ++p) {
        const auto at = static_cast<std::size_t>((first + w) * kStride + p);
        inputs.data_ptr<std::int64_t>()[w * kWindow + p] = tokens[at];
        targets.data_ptr<std::int64_t>()[w * kWindow + p] = tokens[at + 1];
      }
    const torch::Tensor logits = network.logits(network.hidden(inputs).flatten(0, 1));
    const torch::Tensor losses = -torch::log_softmax(logits, 1)
                                      .gather(1, targets.view({-1, 1}))
                                      .view({2, kWindow})
                                      .narrow(1, kWindow - kStride, kStride)
                                      .contiguous();
    nats.insert(nats.end(), losses.data_ptr<float>(), losses.data_ptr<float>() + losses.numel());
  }
  return nats;
}

std::vector<float> par5_nats(TorchScorer& scorer, const std::vector<std::uint16_t>& tokens, std::int64_t windows) {
  const std::vector<Window> plan = later_windows(windows);
  auto broker = TokenBroker::create(tokens, plan.back().end_target() - 1);
  if (!broker || !broker->score(scorer, plan, windows * kWindow, nullptr)) std::abort();
  std::vector<float> nats;
  for (const Window& window : plan)
    for (std::int64_t t = window.first_target(); t < window.end_target(); ++t)
      nats.push_back(static_cast<float>(ledger_nats(broker->ledger().units()[static_cast<std::size_t>(t - 1)])));
  return nats;
}

// Median seconds of the baseline in this process, which main() has left with malloc as it is.
int print_default_malloc_seconds(const Case& shape, int repetitions) {
  set_threads(1);
  const StoredModel stored = random_model(shape);
  Network network(stored.model, torch::kCPU, torch::kFloat32, Kernels::eager);
  if (!network.load(stored)) return 1;
  const std::vector<std::uint16_t> tokens = random_tokens(shape.windows * kStride + kWindow);
  std::vector<double> seconds;
  for (int i = 0; i <= repetitions; ++i) {
    const double one = measure([&] { eager_nats(network, tokens, shape.windows); });
    if (i > 0) seconds.push_back(one);
  }
  std::printf("%.9f\n", bench::median(seconds));
  return 0;
}

double default_malloc_seconds(const char* program) {
  std::FILE* pipe = ::popen((std::string("'") + program + "' --default-malloc").c_str(), "r");
  double seconds = 0;
  if (!pipe || std::fscanf(pipe, "%lf", &seconds) != 1) std::abort();
  ::pclose(pipe);
  return seconds;
}

bool bench_scoring(const Case& shape, const char* program, bench::Figures& figures) {
  const StoredModel stored = random_model(shape);
  const std::vector<std::uint16_t> tokens = random_tokens(shape.windows * kStride + kWindow);
  Network eager(stored.model, torch::kCPU, torch::kFloat32, Kernels::eager);
  auto scorer = TorchScorer::create(stored, {});
  if (!scorer || !eager.load(stored)) return false;
  std::vector<double> plain, ours;
  std::vector<float> expected, actual;
  constexpr int kRepetitions = 3;
  for (int i = 0; i <= kRepetitions; ++i) {
    const double first = measure([&] { expected = eager_nats(eager, tokens, shape.windows); });
    const double second = measure([&] { actual = par5_nats(**scorer, tokens, shape.windows); });
    if (i == 0) continue;
    plain.push_back(first);
    ours.push_back(second);
  }
  double largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i)
    largest = std::max(largest, static_cast<double>(std::abs(actual[i] - expected[i]) / std::max(1.0f, expected[i])));
  if (actual.size() != expected.size() || largest > 2e-6) {
    std::fprintf(stderr, "the scorers differ by up to %.3g of a target's nats\n", largest);
    return false;
  }
  const std::string what = "stride-16 scoring, window 1024, d " + std::to_string(shape.width);
  const double best = *std::min_element(ours.begin(), ours.end());
  const auto per_second = static_cast<double>(shape.windows * kStride) / bench::median(ours);
  const std::string detail =
      fixed(per_second, 1) + " targets/s, largest relative difference of a target " + shortest(largest);
  const double ratio = bench::median(plain) / bench::median(ours);
  figures.add({"eval.1",
               what + ": times the tuned eager scorer",
               ratio,
               "x",
               shape.must,
               {},
               bench::Better::higher,
               1,
               kRepetitions,
               *std::min_element(plain.begin(), plain.end()) / best,
               ratio,
               detail});
  if (shape.width == kNarrow.width) {
    const double untuned = default_malloc_seconds(program) / bench::median(ours);
    figures.add({"eval.1",
                 what + ": times the eager scorer, default malloc",
                 untuned,
                 "x",
                 4.0,
                 {},
                 bench::Better::higher,
                 1,
                 kRepetitions,
                 untuned,
                 untuned,
                 ""});
  }
  return true;
}

// One step of SGD on the calibration tensors with all weights' gradients at hand.
struct FullGradients {
  FullGradients(const StoredModel& stored, Kernels kernels)
      : network(stored.model, torch::kCPU, torch::kFloat32, kernels) {
    if (!network.load(stored)) std::abort();
    network.require_gradients(true, true);
  }
  void step(const torch::Tensor& inputs, const torch::Tensor& targets, const TttConfig& ttt, double rate) {
    network.clear_gradients();
    network.loss(inputs, targets, 1e-4).total.backward();
    const torch::NoGradGuard no_gradients;
    torch::Tensor squares = torch::zeros({});
    for (const NetworkWeight& weight : network.weights())
      if (weight.spec.calibration) squares += weight.effective.grad().square().sum();
    const double factor = std::min(1.0, ttt.clip / (squares.sqrt().item<double>() + 1e-6));
    std::size_t next = 0;
    for (NetworkWeight& weight : network.weights()) {
      if (!weight.spec.calibration) continue;
      if (next == velocities.size()) velocities.push_back(torch::zeros_like(weight.effective));
      velocities[next].mul_(ttt.momentum).add_(weight.effective.grad(), factor);
      weight.effective.sub_(velocities[next++], rate);
    }
  }
  Network network;
  std::vector<torch::Tensor> velocities;
};

bool bench_learning(const Case& shape, bench::Figures& figures) {
  constexpr std::int64_t kWindows = 2;
  const StoredModel stored = random_model(shape);
  const std::vector<std::uint16_t> tokens = random_tokens(kWindows * kWindow + 1);
  auto scorer = TorchScorer::create(stored, {});
  if (!scorer) return false;
  auto learner = TorchLearner::create((*scorer)->network(), torch_learner_options(ModeKind::ttt_scalars, {}, 1e-4));
  auto broker = TokenBroker::create(tokens, kWindows * kWindow);
  if (!learner || !broker || !broker->score(**scorer, *chunked_plan(kWindows * kWindow, kWindow), kWindow, nullptr))
    return false;
  FullGradients full(stored, Kernels::automatic), plain(stored, Kernels::eager);
  torch::Tensor inputs = torch::empty({kWindows, kWindow}, torch::kInt64), targets = torch::empty_like(inputs);
  for (std::int64_t i = 0; i < kWindows * kWindow; ++i) {
    inputs.data_ptr<std::int64_t>()[i] = tokens[static_cast<std::size_t>(i)];
    targets.data_ptr<std::int64_t>()[i] = tokens[static_cast<std::size_t>(i) + 1];
  }
  std::vector<double> all, scalars, published;
  constexpr int kRepetitions = 5;
  const TttConfig ttt;
  for (int i = 0; i <= kRepetitions; ++i) {
    const double first = measure([&] { full.step(inputs, targets, ttt, ttt.lr); });
    const double second = measure([&] {
      if (!broker->learn(**learner, 1, kWindows, kWindow, ttt.lr)) std::abort();
    });
    const double third = measure([&] { plain.step(inputs, targets, ttt, ttt.lr); });
    if (i == 0) continue;
    all.push_back(first);
    scalars.push_back(second);
    published.push_back(third);
  }
  for (std::size_t w = 0; w < full.network.weights().size(); ++w)
    if (!torch::equal(full.network.weights()[w].effective, (*scorer)->network().weights()[w].effective)) {
      std::fprintf(stderr, "the updates of %s differ\n", full.network.weights()[w].spec.name.c_str());
      return false;
    }
  const double ratio = bench::median(all) / bench::median(scalars);
  figures.add({"eval.2",
               "scalars-only learning, d " + std::to_string(shape.width) + ": times learning with all gradients",
               ratio,
               "x",
               1.4,
               {},
               bench::Better::higher,
               1,
               kRepetitions,
               *std::min_element(all.begin(), all.end()) / *std::min_element(scalars.begin(), scalars.end()),
               ratio,
               std::to_string((*learner)->adapted_values()) + " values, updates equal bit for bit"});
  const double plainly = bench::median(published) / bench::median(scalars);
  figures.add(
      {"eval.2",
       "scalars-only learning, d " + std::to_string(shape.width) + ": times all gradients by plain operations",
       plainly,
       "x",
       {},
       {},
       bench::Better::higher,
       1,
       kRepetitions,
       *std::min_element(published.begin(), published.end()) / *std::min_element(scalars.begin(), scalars.end()),
       plainly,
       "for information"});
  return true;
}

// Bits per target of one pass over disjoint windows.
double bits_per_target(const StoredModel& stored, const std::vector<std::uint16_t>& tokens, std::int64_t window,
                       std::int64_t batch, int threads) {
  set_threads(threads);
  const auto targets = static_cast<std::int64_t>(tokens.size()) - 1;
  auto scorer = TorchScorer::create(stored, {});
  auto broker = TokenBroker::create(tokens, targets);
  if (!scorer || !broker || !broker->score(**scorer, *chunked_plan(targets, window), batch * window, nullptr))
    std::abort();
  return ledger_bits(broker->ledger().total_units()) / static_cast<double>(targets);
}

void bench_agreement(bench::Figures& figures) {
  constexpr std::int64_t kShort = 128;
  const StoredModel stored = random_model(kNarrow);
  const std::vector<std::uint16_t> tokens = random_tokens(32 * kShort + 1);
  double lowest = 1e300, highest = 0;
  for (const int threads : {1, 2})
    for (const std::int64_t batch : {1, 7, 32}) {
      const double bits = bits_per_target(stored, tokens, kShort, batch, threads);
      lowest = std::min(lowest, bits);
      highest = std::max(highest, bits);
    }
  set_threads(1);
  const double eighth = std::pow(10.0, std::ceil(std::log10(highest)) - 8);
  const double difference = (highest - lowest) / eighth;
  figures.add(
      {"eval.5",
       "bits a target, batches of 1, 7, 32 and 1, 2 threads: spread",
       difference,
       "8th digit",
       0.5,
       {},
       bench::Better::lower,
       2,
       6,
       difference,
       difference,
       fixed(highest, 8) + " bits a target, d 192; a resumed pass is the same bit for bit (par5-test-eval-torch)"});
}

std::string shared_path(const std::string& name) {
  const char* folder = std::getenv("PAR5_SHARED");
  return join_path(folder ? folder : PAR5_SOURCE_DIR "/../shared", name);
}

// Learning on the whole validation split against the same windows without, by the program that users call.
bool bench_whole_split(bench::Figures& figures) {
  const std::string checkpoint = shared_path("data/checkpoints/quinary-small-trained.safetensors");
  if (!file_exists(checkpoint)) {
    std::printf("eval.4 needs %s\n", checkpoint.c_str());
    return true;
  }
  const std::string command = "'" PAR5_PROGRAM "' eval '" + checkpoint +
                              "' --config '" PAR5_SOURCE_DIR "/configs/quinary-small.toml' --data '" +
                              shared_path("data/corpora/enwiki-long/val.jsonl.xz") + "' --tokenizer '" +
                              shared_path("data/tokenizers/enwiki_4096.model") +
                              "' --stride 512 --mode ttt:model@lr=0,ttt:model --json -q";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (!pipe) return false;
  std::string text;
  char buffer[4096];
  for (std::size_t count = 0; (count = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, count);
  if (::pclose(pipe) != 0) return false;
  const auto report = nlohmann::json::parse(text);
  const auto& learning = report["rows"][1];
  const double difference = learning["difference"];
  figures.add(
      {"eval.4", "ttt:model against its learning-rate-0 arm, whole enwiki-long val", difference, "bpb", -0.010, -0.020,
       bench::Better::lower, report["threads"], 1, difference, difference,
       "95 % by document " + fixed(learning["difference_low"], 6) + " ... " + fixed(learning["difference_high"], 6)});
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string argument = argc > 1 ? argv[1] : "";
  if (argument == "--default-malloc") return print_default_malloc_seconds(kNarrow, 3);
  tune_allocator();
  set_threads(1);
  std::printf("%s\n", to_string(describe_runtime()).c_str());
  bench::Figures figures("eval");
  for (const Case& shape : {kNarrow, kWide})
    if (!bench_scoring(shape, argv[0], figures) || !bench_learning(shape, figures)) return 1;
  bench_agreement(figures);
  if (argc > 2 && std::string(argv[2]) == "--long" && !bench_whole_split(figures)) return 1;
  return figures.finish(argument);
}
