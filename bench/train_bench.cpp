// Training on the CPU against the same network written plainly in LibTorch operations (eager_trainer.h).
//
// What is compared runs in processes of its own, since malloc's settings belong to a process, and takes turns: the
// parent asks each for one step after the other. Without --long a few steps at d = 192; with it 100, and the d = 576
// network. par5-bench-train FOLDER [--long] [steps | head | attention | update]: all parts, or one.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "bench/eager_trainer.h"
#include "bench/figures.h"
#include "model/attention.h"
#include "model/head.h"
#include "model/integer_kernels.h"
#include "model/product_rate.h"
#include "model/runtime.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/step_meter.h"

using namespace par5;

namespace {

constexpr std::int64_t kBatch = 8, kLength = 256;

// "d192": the published recipe at a small width; "d576": quinary-16mb itself.
Config config_of(const std::string& network) {
  LoadedConfig config;
  if (const Status status = config.apply_file(PAR5_SOURCE_DIR "/configs/quinary-16mb.toml"); !status) {
    std::fprintf(stderr, "%s\n", to_string(status.error()).c_str());
    std::exit(1);
  }
  Config values = config.values();
  if (network == "d192") {
    values.model.width = 192, values.model.heads = 4, values.model.kv_heads = 2, values.model.mlp_width = 768;
    values.model.vocab = 4096, values.model.embedding_width = 128;
  }
  // The published rates are for batches 250 times as large.
  values.optimizer.muon_lr = 0.01, values.optimizer.scalar_lr = 0.005, values.optimizer.embedding_lr = 0.005;
  values.train.batch_tokens = values.train.micro_batch_tokens = kBatch * kLength;
  values.train.sequence = kLength;
  return values;
}

// par5's optimiser: in float32 and in integers the Gram form is less work; bfloat16 needs the plain one and is taken
// where it is faster than float32.
OptimizerConfig optimizer_of(const Config& config, torch::ScalarType type) {
  OptimizerConfig optimizer = config.optimizer;
  const bool integers = kernels::has_fast_integer_products();
  optimizer.muon_products = integers ? MuonProducts::int16 : MuonProducts::floating;
  optimizer.muon_form = type == torch::kBFloat16 && !integers ? MuonForm::plain : MuonForm::gram;
  return optimizer;
}

// A batch of a language that can be learned: the next token is a function of the last, but for one in eight.
torch::Tensor tokens_of_step(std::int64_t step, std::int64_t vocab) {
  torch::Tensor tokens = torch::empty({kBatch, kLength + 1}, torch::kInt64);
  auto values = tokens.accessor<std::int64_t, 2>();
  std::uint64_t random = 0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(step + 1);
  const std::int64_t used = std::min<std::int64_t>(vocab, 512);
  for (std::int64_t i = 0; i < kBatch; ++i)
    for (std::int64_t j = 0; j <= kLength; ++j) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      const auto drawn = static_cast<std::int64_t>(random >> 33) % used;
      values[i][j] = j == 0 || (random >> 61) == 0 ? drawn : (values[i][j - 1] * 5 + 17) % used;
    }
  return tokens;
}

class Par5Trainer {
 public:
  Par5Trainer(const Config& config, LatentWeights initial, torch::ScalarType type, bool integers)
      : config_(config),
        latent_(std::move(initial)),
        network_(config.model, torch::kCPU, type),
        optimizer_(specs(), optimizer_of(config, type), type, torch::kCPU) {
    network_.require_gradients(true, true);
    network_.set_training(true);
    if (integers) network_.set_integer_products(integer_products(config.quantizer));
  }
  double step(const torch::Tensor& tokens, const torch::Tensor& targets) {
    if (const Status status = latent_.refresh(network_); !status) throw std::runtime_error(status.error().message);
    latent_.clear_gradients();
    const Network::Loss loss = network_.loss(tokens, targets, config_.train.z_loss);
    loss.total.backward();
    latent_.collect_gradients(network_);
    std::vector<torch::Tensor> values, gradients;
    for (const LatentWeight& weight : latent_.weights()) {
      values.push_back(weight.value);
      gradients.push_back(weight.gradient);
    }
    optimizer_.step(values, gradients, 1.0, muon_momentum(config_.optimizer, optimizer_.steps()));
    return loss.cross_entropy.item<double>();
  }

 private:
  std::vector<TensorSpec> specs() const {
    std::vector<TensorSpec> specs;
    for (const LatentWeight& weight : latent_.weights()) specs.push_back(weight.spec);
    return specs;
  }
  Config config_;
  LatentWeights latent_;
  Network network_;
  Optimizer optimizer_;
};

LatentWeights initial_weights(const Config& config) {
  return {config.model, config.quantizer, {config.train.init_std, config.train.embedding_init_std, 42}, torch::kCPU};
}

// A status value of this process in bytes: "VmRSS", "VmHWM".
double status_bytes(const std::string& key) {
  const auto text = read_text_file("/proc/self/status");
  const std::size_t at = text ? text->find(key + ":") : std::string::npos;
  return at == std::string::npos ? 0 : 1024 * std::atof(text->c_str() + at + key.size() + 1);
}

// What a child does when it is asked; it answers with two numbers.
struct Answer {
  double value = 0, seconds = 0, faults = 0;
};

struct Flavour {
  std::string name;
  std::string form;  // "eager", "par5", "par5 int8"
  torch::ScalarType type = torch::kFloat32;
  bool tuned_malloc = true;
};

template <class Work>
[[noreturn]] void answer_requests(int requests, int answers, Work&& work) {
  for (std::int64_t step = 0;; ++step) {
    char byte = 0;
    if (::read(requests, &byte, 1) != 1) ::_exit(0);
    const long faults = minor_faults();
    Answer answer;
    answer.seconds = bench::seconds_of([&] { answer.value = work(step); });
    answer.faults = static_cast<double>(minor_faults() - faults);
    if (::write(answers, &answer, sizeof answer) != sizeof answer) ::_exit(1);
  }
}

[[noreturn]] void train_as(const Flavour& flavour, const std::string& network, int requests, int answers) {
  const Config config = config_of(network);
  const auto serve = [&](auto& trainer) {
    answer_requests(requests, answers, [&](std::int64_t step) {
      const torch::Tensor tokens = tokens_of_step(step, config.model.vocab);
      return trainer.step(tokens.narrow(1, 0, kLength).contiguous(), tokens.narrow(1, 1, kLength).contiguous());
    });
  };
  if (flavour.form == "eager") {
    bench::EagerTrainer trainer(config, initial_weights(config), flavour.type == torch::kBFloat16);
    serve(trainer);
  } else {
    Par5Trainer trainer(config, initial_weights(config), flavour.type, flavour.form == "par5 int8");
    serve(trainer);
  }
  ::_exit(0);
}

// The head alone, forward and backward at embedding width 128: its value is the peak of memory beyond what it was
// given.
[[noreturn]] void head_as(const Flavour& flavour, int requests, int answers) {
  ModelConfig model = config_of("d576").model;
  torch::manual_seed(3);
  const torch::Tensor features = torch::randn({kBatch * kLength, 128}).to(flavour.type).requires_grad_();
  const torch::Tensor embedding = (0.05 * torch::randn({model.vocab, 128})).requires_grad_();
  const torch::Tensor bias = torch::zeros({model.vocab}).requires_grad_();
  const torch::Tensor targets = torch::randint(model.vocab, {kBatch * kLength}, torch::kInt64);
  double peak = 0;
  answer_requests(requests, answers, [&](std::int64_t step) {
    const double before = status_bytes("VmRSS");
    torch::Tensor total;
    if (flavour.form == "eager")
      total = bench::eager_loss(features, embedding.to(flavour.type), bias, targets, model, 1e-4).total;
    else
      total = head_loss(features, embedding, bias, targets, 1e-4, {model.softcap, model.softcap_value}).total;
    total.backward();
    // Memory is kept for the next time, so that only the first shows what is needed.
    if (step == 0) peak = status_bytes("VmHWM") - before;
    for (const torch::Tensor& leaf : {features, embedding, bias}) torch::Tensor(leaf).mutable_grad() = torch::Tensor();
    return step == 0 ? peak : total.item<double>();
  });
}

class Child {
 public:
  // A copy of this program, so that malloc starts afresh: exec, not just fork.
  Child(const Flavour& flavour, const std::string& job) : flavour_(flavour) {
    int to_child[2], from_child[2];
    if (::pipe2(to_child, O_CLOEXEC) != 0 || ::pipe2(from_child, O_CLOEXEC) != 0) std::exit(1);
    process_ = ::fork();
    if (process_ == 0) {
      // The other children's pipes are closed by exec, these two stay.
      ::fcntl(to_child[0], F_SETFD, 0);
      ::fcntl(from_child[1], F_SETFD, 0);
      const std::string type = flavour.type == torch::kBFloat16 ? "bfloat16" : "float32";
      ::execl("/proc/self/exe", "par5-bench-train", "--child", job.c_str(), flavour.form.c_str(), type.c_str(),
              flavour.tuned_malloc ? "tuned" : "default", std::to_string(to_child[0]).c_str(),
              std::to_string(from_child[1]).c_str(), static_cast<char*>(nullptr));
      ::_exit(127);
    }
    ::close(to_child[0]);
    ::close(from_child[1]);
    requests_ = to_child[1];
    answers_ = from_child[0];
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    ::close(requests_);
    ::close(answers_);
    ::waitpid(process_, nullptr, 0);
  }
  bool ask() {
    Answer answer;
    if (::write(requests_, "s", 1) != 1) return false;
    if (::read(answers_, &answer, sizeof answer) != sizeof answer) return false;
    answers.push_back(answer);
    return true;
  }
  const Flavour& flavour() const { return flavour_; }
  // Of all but the first answer.
  std::vector<double> seconds() const {
    std::vector<double> seconds;
    for (std::size_t i = 1; i < answers.size(); ++i) seconds.push_back(answers[i].seconds);
    return seconds;
  }
  std::vector<Answer> answers;

 private:
  Flavour flavour_;
  pid_t process_ = -1;
  int requests_ = -1, answers_ = -1;
};

int child_main(char** argv) {
  Flavour flavour;
  const std::string job = argv[2];
  flavour.form = argv[3];
  flavour.type = std::strcmp(argv[4], "bfloat16") == 0 ? torch::kBFloat16 : torch::kFloat32;
  if (std::strcmp(argv[5], "tuned") == 0) tune_allocator();
  set_threads(0);
  const int requests = std::atoi(argv[6]), answers = std::atoi(argv[7]);
  if (job == "head") head_as(flavour, requests, answers);
  train_as(flavour, job, requests, answers);
}

// Lets the children answer in turns, `rounds` times and once before.
bool take_turns(std::vector<std::unique_ptr<Child>>& children, int rounds) {
  for (int round = 0; round <= rounds; ++round)
    for (const auto& child : children)
      if (!child->ask()) {
        std::fprintf(stderr, "the process of '%s' ended early\n", child->flavour().name.c_str());
        return false;
      }
  return true;
}

double least(const std::vector<double>& values) { return *std::min_element(values.begin(), values.end()); }

// `slow` / `fast` by the median; lowest and median of the ratios in turn.
bench::Figure ratio(const std::string& id, const std::string& what, const std::vector<double>& slow,
                    const std::vector<double>& fast, std::optional<double> must, std::optional<double> aim) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < slow.size(); ++i) ratios.push_back(slow[i] / fast[i]);
  bench::Figure figure{id, what, bench::median(slow) / bench::median(fast), "x", must, aim};
  figure.threads = at::get_num_threads();
  figure.repetitions = static_cast<int>(slow.size());
  figure.lowest = least(ratios), figure.median = bench::median(ratios);
  return figure;
}

bool measure_steps(const std::string& network, int rounds, bool with_curve, bench::Figures& figures) {
  const Config config = config_of(network);
  const ProductRates rates = measure_product_rates(config.model, torch::kCPU);
  const bool narrow = rates.bfloat16 >= 1.1 * rates.float32;
  const torch::ScalarType type = narrow ? torch::kBFloat16 : torch::kFloat32;
  std::vector<Flavour> flavours = {{"eager float32, default malloc", "eager", torch::kFloat32, false},
                                   {"eager float32, tuned malloc", "eager", torch::kFloat32, true},
                                   {"eager bfloat16 autocast, default malloc", "eager", torch::kBFloat16, false},
                                   {"eager bfloat16 autocast, tuned malloc", "eager", torch::kBFloat16, true},
                                   {"par5", "par5", type, true}};
  if (narrow) flavours.push_back({"par5 in float32", "par5", torch::kFloat32, true});
  const std::size_t integers = flavours.size();
  if (kernels::has_fast_integer_products()) flavours.push_back({"par5 int8", "par5 int8", torch::kFloat32, true});
  std::vector<std::unique_ptr<Child>> children;
  for (const Flavour& flavour : flavours) children.push_back(std::make_unique<Child>(flavour, network));
  if (!take_turns(children, rounds)) return false;
  const Child& par5 = *children[4];
  const std::vector<double> ours = par5.seconds();
  for (const auto& child : children)
    if (std::abs(child->answers[0].value / par5.answers[0].value - 1) > 2e-3) {
      std::fprintf(stderr, "%s begins with the loss %.6f, par5 with %.6f\n", child->flavour().name.c_str(),
                   child->answers[0].value, par5.answers[0].value);
      return false;
    }
  const bool small = network == "d192";
  const std::string used = narrow ? "bfloat16" : "float32", size = ", step at " + network;
  struct Bound {
    std::optional<double> must, aim;
  };
  const Bound bounds[4] = {{small ? 5.0 : 4.0, {}}, {}, {}, {small ? 2.0 : 1.6, small ? 2.8 : 1.9}};
  for (std::size_t i = 0; i < 4; ++i) {
    figures.add(ratio("train.1", flavours[i].name + " / par5 in " + used + size, children[i]->seconds(), ours,
                      bounds[i].must, bounds[i].aim));
    if (integers < children.size())
      figures.add(ratio("train.1", flavours[i].name + " / par5 in int8" + size, children[i]->seconds(),
                        children[integers]->seconds(), bounds[i].must, bounds[i].aim));
  }
  std::vector<TensorSpec> specs = tensor_specs(config.model);
  const double tokens = static_cast<double>(kBatch * kLength);
  const double flops = pass_flops(config.model, kBatch * kLength, kLength, static_cast<double>(config.model.vocab)) +
                       orthogonalization_flops(specs, optimizer_of(config, type));
  bench::Figure speed{"train.info", "par5" + size, tokens / bench::median(ours), "tokens/s", {}, {}};
  speed.threads = at::get_num_threads(), speed.repetitions = rounds;
  speed.lowest = tokens / *std::max_element(ours.begin(), ours.end()), speed.median = speed.value;
  speed.detail = used + ", " + fixed(par5.answers.back().faults, 0) + " page faults in the last step";
  figures.add(speed);
  for (const bool against_narrow : {false, true}) {
    if (!against_narrow && narrow) continue;
    const double rate = against_narrow ? rates.bfloat16 : rates.float32;
    bench::Figure share{
        "train.4",
        "roofline: share of the machine's " + std::string(against_narrow ? "bfloat16" : "float32") + " products" + size,
        100 * flops / bench::median(ours) / rate,
        "%",
        small ? 30.0 : 50.0,
        {}};
    share.threads = at::get_num_threads(), share.repetitions = rounds;
    share.lowest = 100 * flops / *std::max_element(ours.begin(), ours.end()) / rate, share.median = share.value;
    share.detail =
        fixed(flops / bench::median(ours) * 1e-9, 1) + " of " + fixed(rate * 1e-9, 1) + " GFLOP/s, in " + used;
    figures.add(share);
  }
  if (!with_curve) return true;
  // Int8 is another arithmetic, whose loss is shown beside it.
  const Child& eager = *children[1];
  for (const std::size_t of : {narrow ? std::size_t{5} : std::size_t{4}, integers}) {
    if (of >= children.size()) continue;
    const Child& child = *children[of];
    double most = 0;
    for (std::size_t i = 0; i < eager.answers.size(); ++i)
      most = std::max(most, std::abs(child.answers[i].value / eager.answers[i].value - 1));
    bench::Figure curve{of == integers ? "train.info" : "train.5",
                        std::string(of == integers ? "int8's" : "float32's") +
                            " loss against eager float32, largest difference in " + std::to_string(rounds + 1) +
                            " steps" + size,
                        100 * most,
                        "%",
                        of == integers ? std::nullopt : std::optional(0.5),
                        {},
                        bench::Better::lower};
    curve.threads = at::get_num_threads(), curve.lowest = curve.median = curve.value;
    curve.detail = "loss " + fixed(child.answers.front().value, 4) + " to " + fixed(child.answers.back().value, 4);
    figures.add(curve);
  }
  return true;
}

bool measure_head(int rounds, bench::Figures& figures) {
  const ModelConfig model = config_of("d576").model;
  const ProductRates rates = measure_product_rates(model, torch::kCPU);
  const torch::ScalarType type = rates.bfloat16 >= 1.1 * rates.float32 ? torch::kBFloat16 : torch::kFloat32;
  std::vector<std::unique_ptr<Child>> children;
  children.push_back(std::make_unique<Child>(Flavour{"eager head", "eager", type, true}, "head"));
  children.push_back(std::make_unique<Child>(Flavour{"fused head", "par5", type, true}, "head"));
  if (!take_turns(children, rounds)) return false;
  const Child &eager = *children[0], &fused = *children[1];
  if (std::abs(eager.answers[1].value / fused.answers[1].value - 1) > 2e-3) {
    std::fprintf(stderr, "the heads' losses are %.6f and %.6f\n", eager.answers[1].value, fused.answers[1].value);
    return false;
  }
  figures.add(ratio("train.2.speed", "eager head, tuned malloc / fused, width 128, vocabulary 16,384", eager.seconds(),
                    fused.seconds(), 2.5, {}));
  bench::Figure memory{"train.2.memory",
                       "fused head's peak memory / eager's",
                       fused.answers[0].value / eager.answers[0].value,
                       "x",
                       1.0 / 8,
                       {},
                       bench::Better::lower};
  memory.threads = at::get_num_threads(), memory.lowest = memory.median = memory.value;
  memory.detail = grouped(static_cast<std::int64_t>(fused.answers[0].value)) + " bytes";
  figures.add(memory);
  return true;
}

// Forward and backward of causal attention alone.
bool measure_attention(int rounds, bench::Figures& figures) {
  const AttentionShape shape{8, 512, 4, 4, 48};
  for (const torch::ScalarType type : {torch::kFloat32, torch::kBFloat16}) {
    torch::manual_seed(7);
    const std::int64_t rows = shape.batch * shape.length, width = shape.heads * shape.head_width;
    torch::Tensor qkv = torch::randn({rows, 3 * width}).to(type).requires_grad_();
    const torch::Tensor incoming = torch::randn({rows, width}).to(type);
    torch::Tensor flash, ours;
    const auto work = [&](Kernels kernels, torch::Tensor& gradient) {
      qkv.mutable_grad() = torch::Tensor();
      plain_attention(qkv, shape, 0.0, kernels).backward(incoming);
      gradient = qkv.grad();
    };
    const bench::Paired times = bench::interleaved(
        rounds, [&] { work(Kernels::eager, flash); }, [&] { work(Kernels::automatic, ours); });
    const std::string name = type == torch::kFloat32 ? "float32" : "bfloat16";
    const double difference =
        ((flash - ours).to(torch::kFloat32).norm() / flash.to(torch::kFloat32).norm()).item<double>();
    if (difference > (type == torch::kFloat32 ? 1e-5 : 2e-2)) {
      std::fprintf(stderr, "attention in %s differs from LibTorch's by %.2e\n", name.c_str(), difference);
      return false;
    }
    figures.add(ratio("train.info", "LibTorch's flash attention / par5's, 8 x 512, 4 heads of 48, " + name, times.first,
                      times.second, {}, {}));
  }
  return true;
}

// Quantiser and Muon over all matrices of the d = 576 network.
bool measure_update(int rounds, bench::Figures& figures) {
  const Config config = config_of("d576");
  LatentWeights latent = initial_weights(config);
  Network network(config.model, torch::kCPU, torch::kFloat32);
  std::vector<torch::Tensor> chained;
  const torch::NoGradGuard no_gradients;
  const bench::Paired quantiser = bench::interleaved(
      rounds,
      [&] {
        chained.clear();
        for (const LatentWeight& weight : latent.weights())
          chained.push_back(bench::eager_stored(weight.spec, weight.value, config.quantizer));
      },
      [&] { (void)latent.refresh(network); });
  // A mean near the middle of two fp16 numbers may round either way, which moves its group by 2^-10 at most, and very
  // few codes at the edge of a level by a step.
  for (std::size_t i = 0; i < latent.weights().size(); ++i) {
    const torch::Tensor& ours = network.weights()[i].effective;
    const torch::Tensor difference = (chained[i] - ours).abs();
    const auto share_beyond = [&](const torch::Tensor& bound) {
      return (difference > bound).to(torch::kFloat64).mean().item<double>();
    };
    if (share_beyond(torch::full({}, 1e-6)) > 1e-3 || share_beyond(0x1p-10 * ours.abs() + 1e-6) > 1e-5) {
      std::fprintf(stderr, "%s is quantised otherwise\n", latent.weights()[i].spec.name.c_str());
      return false;
    }
  }
  figures.add(ratio("train.3.quantiser", "all weights to storage, eager / par5's refresh, d576", quantiser.first,
                    quantiser.second, 5.0, {}));

  const ProductRates rates = measure_product_rates(config.model, torch::kCPU);
  const torch::ScalarType type = rates.bfloat16 >= 1.1 * rates.float32 ? torch::kBFloat16 : torch::kFloat32;
  std::vector<TensorSpec> specs;
  std::vector<torch::Tensor> eager, ours, gradients, buffers;
  torch::manual_seed(5);
  for (const LatentWeight& weight : latent.weights())
    if (weight.spec.shape.size() == 2 && !weight.spec.calibration && weight.spec.name != "tok_emb.weight") {
      specs.push_back(weight.spec);
      eager.push_back(torch::zeros(weight.spec.shape));
      ours.push_back(torch::zeros(weight.spec.shape));
      buffers.push_back(torch::zeros(weight.spec.shape));
      gradients.push_back(torch::randn(weight.spec.shape));
    }
  Optimizer optimizer(specs, optimizer_of(config, type), type, torch::kCPU);
  const bench::Paired muon = bench::interleaved(
      rounds,
      [&] {
        for (std::size_t i = 0; i < specs.size(); ++i)
          bench::eager_muon(eager[i], gradients[i], buffers[i], config.optimizer, 0.95, torch::kFloat32);
      },
      [&] { optimizer.step(ours, gradients, 1.0, 0.95); });
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const double cosine = (eager[i] * ours[i]).sum().item<double>() / (eager[i].norm() * ours[i].norm()).item<double>();
    if (cosine > 0.9995) continue;
    std::fprintf(stderr, "Muon moves %s otherwise: cosine %.6f\n", specs[i].name.c_str(), cosine);
    return false;
  }
  bench::Figure figure = ratio("train.3.muon", "plain float32 Muon / par5's, d576", muon.first, muon.second, 3.0, {});
  figure.detail = kernels::has_fast_integer_products() ? "16-bit integers, Gram form"
                  : type == torch::kBFloat16           ? "bfloat16, plain form"
                                                       : "float32, Gram form";
  figures.add(figure);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 8 && std::strcmp(argv[1], "--child") == 0) return child_main(argv);
  ::signal(SIGPIPE, SIG_IGN);
  std::string folder, only;
  bool all = false;
  for (int i = 1; i < argc; ++i)
    if (std::strcmp(argv[i], "--long") == 0)
      all = true;
    else
      (folder.empty() ? folder : only) = argv[i];
  const auto wanted = [&](const char* part) { return only.empty() || only == part; };
  tune_allocator();
  set_threads(0);
  std::printf("%s\n", to_string(describe_runtime()).c_str());
  bench::Figures figures("train");
  constexpr int kRounds = 5;
  if (wanted("steps")) {
    if (!measure_steps("d192", all ? 99 : kRounds, true, figures)) return 1;
    if (all && !measure_steps("d576", kRounds, false, figures)) return 1;
  }
  if (wanted("head") && !measure_head(kRounds, figures)) return 1;
  if (wanted("attention") && !measure_attention(kRounds, figures)) return 1;
  if (wanted("update") && !measure_update(kRounds, figures)) return 1;
  return figures.finish(folder);
}
