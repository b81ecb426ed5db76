#include "train/trainer.h"

#include <ATen/Context.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>
#include <vector>

#include "archive/artifact.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/text.h"
#include "model/latent.h"
#include "model/network.h"
#include "model/runtime.h"
#include "tokenizer/pieces/pieces.h"
#include "train/checkpoint.h"
#include "train/distillation.h"
#include "train/loader.h"
#include "train/movement.h"
#include "train/optimizer.h"
#include "train/precision.h"
#include "train/run_facts.h"
#include "train/run_folder.h"
#include "train/run_recorder.h"
#include "train/sampler.h"
#include "train/schedule.h"
#include "train/spectral_embedding.h"
#include "train/step_meter.h"
#include "train/validation.h"
#include "train/weight_average.h"

namespace par5 {
namespace {

torch::ScalarType scalar_type(Precision precision) {
  return precision == Precision::bfloat16 ? torch::kBFloat16 : torch::kFloat32;
}

// Shards whose vocabulary is the model's.
Result<ShardReader> open_shards(const std::string& folder, const ModelConfig& model) {
  P5_TRY(auto shards, ShardReader::open(folder));
  const auto vocabulary = static_cast<std::int64_t>(shards.manifest().token_bytes.vocab());
  if (vocabulary != model.vocab)
    return usage_error("the shards in '" + folder + "' have a vocabulary of " + std::to_string(vocabulary) +
                           ", the model one of " + std::to_string(model.vocab) +
                           "; use --set model.vocab=" + std::to_string(vocabulary),
                       "model.vocab");
  return shards;
}

// Settings that a run keeps for life; the rest may change when it is resumed.
std::map<std::string, std::string> run_identity(const LoadedConfig& config, const std::string& data_sha256) {
  std::map<std::string, std::string> identity = {{"data_sha256", data_sha256}};
  for (const ConfigKey& key : config_keys())
    if (key.name.starts_with("model.") || key.name.starts_with("quantizer."))
      identity[key.name] = config.value(key.name);
  for (const char* key : {"data.order", "train.seed", "train.sequence", "train.learned_scale", "optimizer.kind",
                          "optimizer.muon_variant"})
    identity[key] = config.value(key);
  return identity;
}

class Trainer {
 public:
  Trainer(const TrainRequest& request, const PrecisionChoice& precision, ShardReader shards,
          std::optional<ShardReader> validation, std::string data_sha256)
      : request_(request),
        config_(request.config.values()),
        precision_(precision),
        shards_(std::move(shards)),
        validation_(std::move(validation)),
        data_sha256_(std::move(data_sha256)),
        generator_(at::globalContext().defaultGenerator(request.device)),
        latent_(config_.model, config_.quantizer, initial_weights(config_, shards_, request.resume), request.device,
                config_.train.learned_scale),
        average_(latent_, config_.train.ema_decay),
        network_(config_.model, request.device, scalar_type(precision.used)),
        optimizer_(specs_of(latent_), optimizer_config(), scalar_type(precision.used), request.device),
        orthogonalization_flops_(orthogonalization_flops(specs_of(latent_), optimizer_config())) {
    generator_.set_current_seed(static_cast<std::uint64_t>(config_.train.seed));
    generator_state_ = generator_.get_state();
    network_.require_gradients(true, true);
    if (precision.used == Precision::int8) network_.set_integer_products(integer_products(config_.quantizer));
  }

  // What can be refused before anything is written.
  Status check() {
    P5_TRY(auto loader, Loader::create(shards_, config_.data.order, config_.train.sequence,
                                       static_cast<std::uint64_t>(config_.train.seed)));
    loader_ = std::make_unique<Loader>(std::move(loader));
    P5_OK(network_.check_length(config_.train.sequence));
    if (validation_) P5_OK(network_.check_length(validation_window()));
    if (!config_.train.teacher.empty()) {
      P5_TRY(teacher_, Teacher::load(config_.train.teacher, config_.model, request_.device, network_.compute_type()));
    }
    if (!request_.replay.empty()) {
      P5_TRY(replay_, read_realized_schedule(request_.replay));
    }
    return {};
  }

  // Restores the state of a resumed run and opens the metrics.
  Status prepare(RunFolder folder) {
    folder_ = std::move(folder);
    if (request_.resume) {
      P5_TRY(position_, read_state(folder_->state(), run_identity(request_.config, data_sha256_), state_tensors()));
      loader_->seek(position_.loader);
      optimizer_.set_steps(position_.optimizer_steps);
      generator_.set_state(generator_state_);
      checkpoint_step_ = position_.step;
      seconds_before_ = position_.seconds;
      log_info("resumed at step " + grouped(position_.step) + " after " + duration(position_.seconds) + " of training");
    } else {
      movement_.emplace(latent_);
    }
    P5_TRY(auto metrics, MetricsLog::open(folder_->metrics(), position_.step));
    recorder_ = std::make_unique<RunRecorder>(config_, std::move(metrics), position_,
                                              optimizer_.groups().front().learning_rate, request_.cap_bytes);
    return plan_next_step();
  }

  Result<TrainReport> run() {
    P5_OK(discarded_warmup());
    last_checkpoint_ = Clock::now();
    started_ = request_.resume ? last_checkpoint_ : request_.clock_start.value_or(last_checkpoint_);
    seconds_before_ = position_.seconds;
    while (!finished()) {
      P5_TRY(const bool done, step());
      if (!done) return interrupt();
      if (position_.step % config_.train.log_every == 0 || finished()) P5_OK(write_metrics());
      recorder_->show(position_, moment().progress);
      if (position_.step == MovementCheck::kSteps) P5_OK(report_unmoved());
      if (validation_due()) {
        const auto score = validate(static_cast<std::uint64_t>(config_.train.validate_tokens));
        if (!score && score.error().code == ErrorCode::interrupted) return interrupt();
        if (!score) return tl::unexpected(score.error());
      }
      if (config_.train.sample_every > 0 && position_.step % config_.train.sample_every == 0) P5_OK(write_sample());
      if (checkpoint_due()) P5_OK(checkpoint());
    }
    Progress::clear_line();
    position_.seconds = elapsed();
    P5_OK(report_unmoved());
    P5_OK(checkpoint());
    return report();
  }

 private:
  using Clock = std::chrono::steady_clock;

  OptimizerConfig optimizer_config() const {
    OptimizerConfig optimizer = config_.optimizer;
    optimizer.muon_products = precision_.muon_products;
    return optimizer;
  }
  static std::vector<TensorSpec> specs_of(const LatentWeights& latent) {
    std::vector<TensorSpec> specs;
    for (const LatentWeight& weight : latent.weights()) specs.push_back(weight.spec);
    return specs;
  }

  double elapsed() const { return seconds_before_ + std::chrono::duration<double>(Clock::now() - started_).count(); }

  // Where the run stands in its schedule: by step and clock, or as the replayed run recorded it.
  Moment moment() const {
    if (replay_) return (*replay_)[std::min(static_cast<std::size_t>(position_.step), replay_->size() - 1)];
    const double now = elapsed();
    return {run_progress(config_.train, position_.step, now), learning_rate_factor(config_.train, position_.step, now)};
  }
  // Settles how the next step will be done and brings the network's weights to it. Once per step: the clock goes on,
  // and what is recorded must be what was done.
  Status plan_next_step() {
    plan_ = plan_step(config_, position_.step, moment());
    return refresh();
  }

  bool finished() const {
    const TrainConfig& train = config_.train;
    if (replay_) return position_.step >= static_cast<std::int64_t>(replay_->size());
    if (train.steps > 0 && position_.step >= train.steps) return true;
    if (train.max_seconds <= 0) return false;
    return elapsed() + *std::max_element(recent_seconds_.begin(), recent_seconds_.end()) > train.max_seconds;
  }

  // Everything that state.bin holds as tensors; they share memory with what they name.
  std::vector<NamedTensor> state_tensors() {
    std::vector<NamedTensor> tensors;
    for (const LatentWeight& weight : latent_.weights())
      tensors.push_back({"latent." + weight.spec.name, weight.value});
    for (NamedTensor& entry : average_.state(latent_)) tensors.push_back(std::move(entry));
    for (NamedTensor& entry : optimizer_.state()) tensors.push_back(std::move(entry));
    tensors.push_back({"generator", generator_state_});
    return tensors;
  }

  Error diverged(const std::string& what) const {
    const std::string kept = checkpoint_step_ >= 0 ? "the checkpoint of step " + grouped(checkpoint_step_) +
                                                         " is kept in '" + folder_->path() + "'"
                                                   : "no checkpoint had been written yet";
    return {ErrorCode::check_failed,
            what + " in step " + grouped(position_.step + 1) + "; " + kept +
                "; lower the learning rates or lengthen the warm-up",
            {},
            {},
            {}};
  }

  // The network's weights for the planned step.
  Status refresh() {
    const ForwardPrecision precision{plan_.full_precision, plan_.simulate_scale_bits};
    if (Status status = latent_.refresh(network_, precision); !status)
      return tl::unexpected<Error>(diverged("a weight left the finite numbers (" + status.error().message + ")"));
    return {};
  }

  tl::unexpected<Error> interrupt() {
    if (Status status = checkpoint(); !status) return tl::unexpected(status.error());
    return tl::unexpected(Error{ErrorCode::interrupted,
                                "interrupted by a signal; the checkpoint of step " + grouped(position_.step) +
                                    " is in '" + folder_->path() + "', and --resume continues",
                                {},
                                {},
                                {}});
  }

  // Of the step's micro-batch of that number.
  Network::Loss loss_of(const torch::Tensor& inputs, const torch::Tensor& targets, std::int64_t micro_batch) {
    const TrainConfig& train = config_.train;
    if (teacher_) return teacher_->loss(network_, inputs, targets, train);
    if (plan_.head_sample == 1) return network_.loss(inputs, targets, train.z_loss);
    // Drawn from the step's number, so that a resumed run draws the same.
    std::seed_seq mixed{train.seed, position_.step, micro_batch};
    std::array<std::uint32_t, 2> seed{};
    mixed.generate(seed.begin(), seed.end());
    return network_.sampled_loss(inputs, targets, train.z_loss,
                                 {plan_.head_sample, std::uint64_t{seed[0]} << 32 | seed[1]});
  }

  struct BatchLoss {
    double cross_entropy = 0;  // mean, in nats
    double vocabulary = 0;     // mean number of tokens that it is over
  };
  // Forward and backward over one batch into the latent gradients: its loss, or nothing if a stop was asked for
  // meanwhile.
  Result<std::optional<BatchLoss>> accumulate_gradients() {
    const TrainConfig& train = config_.train;
    const std::int64_t micro_batches = plan_.batch_tokens / train.micro_batch_tokens;
    latent_.clear_gradients();
    network_.set_training(true);
    BatchLoss loss;
    for (std::int64_t i = 0; i < micro_batches; ++i) {
      if (request_.stop && request_.stop()) return std::nullopt;
      const Batch batch = loader_->next(train.micro_batch_tokens / train.sequence, plan_.sequence);
      const torch::Tensor inputs = batch.inputs.to(request_.device), targets = batch.targets.to(request_.device);
      const Network::Loss parts = loss_of(inputs, targets, i);
      loss.cross_entropy += parts.cross_entropy.item<double>() / static_cast<double>(micro_batches);
      loss.vocabulary += static_cast<double>(parts.vocabulary) / static_cast<double>(micro_batches);
      if (!std::isfinite(loss.cross_entropy)) return tl::unexpected<Error>(diverged("the loss is not a finite number"));
      parts.total.backward();
      latent_.collect_gradients(network_, 1.0 / static_cast<double>(micro_batches));
    }
    latent_.finish_gradients(network_);
    // A guess without any knowledge costs ln(vocabulary); far above that nothing is learned any more.
    if (loss.cross_entropy > 3.0 * std::log(static_cast<double>(config_.model.vocab)) + 3.0)
      return tl::unexpected<Error>(diverged("the loss diverged to " + fixed(loss.cross_entropy, 3) + " nats"));
    return loss;
  }

  void update(double factor, double momentum) {
    std::vector<torch::Tensor> values, gradients;
    for (const LatentWeight& weight : latent_.weights()) {
      values.push_back(weight.value);
      gradients.push_back(weight.gradient);
    }
    optimizer_.step(values, gradients, factor, momentum);
    average_.update(latent_);
  }

  // One optimiser step. False: a stop was asked for, and everything is as before the step.
  Result<bool> step() {
    meter_.begin();
    const double begun = elapsed();
    P5_TRY(const std::optional<BatchLoss> loss, accumulate_gradients());
    if (!loss) {
      loader_->seek(position_.loader);
      return false;
    }
    update(plan_.moment.rate_factor, plan_.momentum);
    ++position_.step;
    position_.tokens += plan_.batch_tokens;
    position_.loader = loader_->position();
    position_.optimizer_steps = optimizer_.steps();
    position_.seconds = elapsed();
    generator_state_.copy_(generator_.get_state());
    recorder_->add_step(plan_, loss->cross_entropy);
    const double flops = pass_flops(config_.model, plan_.batch_tokens, plan_.sequence, loss->vocabulary);
    P5_OK(plan_next_step());
    recent_seconds_[static_cast<std::size_t>(position_.step) % recent_seconds_.size()] = elapsed() - begun;
    meter_.end(flops + orthogonalization_flops_);
    return true;
  }

  // Steps that warm caches and allocators up before the clock starts; their effect is undone.
  Status discarded_warmup() {
    if (config_.train.discarded_warmup_steps == 0 || position_.step > 0) return {};
    std::vector<torch::Tensor> saved;
    for (const NamedTensor& entry : state_tensors()) saved.push_back(entry.tensor.clone());
    for (std::int64_t i = 0; i < config_.train.discarded_warmup_steps; ++i) {
      P5_TRY(const std::optional<BatchLoss> loss, accumulate_gradients());
      if (!loss) return interrupted();
      update(1.0, plan_.momentum);
      P5_OK(refresh());
    }
    const std::vector<NamedTensor> tensors = state_tensors();
    for (std::size_t i = 0; i < saved.size(); ++i) torch::Tensor(tensors[i].tensor).copy_(saved[i]);
    generator_.set_state(generator_state_);
    optimizer_.set_steps(0);
    loader_->seek(position_.loader);
    return refresh();
  }

  static std::size_t threads() { return static_cast<std::size_t>(at::get_num_threads()); }

  Status write_metrics() {
    if (recorder_->empty()) return {};
    P5_TRY(const StoredModel stored, latent_.stored(threads()));
    return recorder_->write_steps(position_, stored);
  }

  // Names the tensors that no step has moved, once.
  Status report_unmoved() {
    if (!movement_) return {};
    unmoved_ = movement_->unmoved(latent_);
    movement_.reset();
    if (unmoved_.empty()) return {};
    log_warning("after " + grouped(position_.step) +
                " steps these tensors have not moved at all: " + join(unmoved_, ", "));
    return recorder_->write(position_.step, {{"unmoved", unmoved_}});
  }

  // Drawn from the weights of the next step; text where the shards carry their tokenizer.
  Status write_sample() {
    constexpr std::uint16_t kBos = 1;
    network_.set_training(false);
    const auto seed = static_cast<std::uint64_t>(config_.train.seed + position_.step);
    const std::vector<std::uint16_t> ids =
        sample_tokens(network_, kBos, config_.train.sample_tokens, config_.model.context, seed);
    nlohmann::ordered_json line = {{"sample_tokens", ids}};
    if (file_exists(folder_->tokenizer())) {
      P5_TRY(const std::vector<TokenizerPiece> pieces, read_pieces(folder_->tokenizer()));
      line["sample"] = text_of(pieces, ids);
    }
    return recorder_->write(position_.step, std::move(line));
  }

  std::int64_t validation_window() const {
    return config_.eval.window > 0 ? config_.eval.window : config_.model.context;
  }

  bool validation_due() const {
    return validation_ && config_.train.validate_every > 0 && position_.step % config_.train.validate_every == 0 &&
           !finished();
  }

  // Chunked bits per byte of the weights as a checkpoint of them would be packed, in eval's precision; also a line in
  // the metrics.
  Result<double> validate(std::uint64_t max_targets) {
    if (!evaluation_network_)
      evaluation_network_ =
          std::make_unique<Network>(config_.model, request_.device, scalar_type(config_.eval.precision));
    const WeightAverage::Swapped averaged(average_, latent_);
    P5_OK(latent_.refresh(*evaluation_network_, {config_.train.quantize ? 0.0 : 1.0, true}));
    P5_TRY(const ChunkedScore score,
           score_chunked(*evaluation_network_, *validation_,
                         {validation_window(), config_.eval.batch_tokens, max_targets, request_.stop}));
    const double bpb = score.bits_per_byte();
    log_info("step " + grouped(position_.step) + ": validation " + fixed(bpb, 5) + " bits per byte on " +
             grouped(static_cast<std::int64_t>(score.targets)) + " targets");
    P5_OK(recorder_->write(position_.step,
                           {{"val_bpb", bpb}, {"val_targets", score.targets}, {"val_bytes", score.bytes}}));
    if (config_.train.keep_best && (position_.best_bpb == 0 || bpb < position_.best_bpb)) {
      P5_OK(write_model(folder_->best_model(), latent_, request_.config));
      position_.best_bpb = bpb;
    }
    return bpb;
  }

  bool checkpoint_due() const {
    return config_.train.checkpoint_seconds > 0 &&
           std::chrono::duration<double>(Clock::now() - last_checkpoint_).count() >= config_.train.checkpoint_seconds;
  }

  // The state first: it stands alone, so a run that ends between the two files continues from it.
  Status checkpoint() {
    P5_OK(write_metrics());
    P5_OK(write_state(folder_->state(), position_, run_identity(request_.config, data_sha256_), state_tensors()));
    {
      const WeightAverage::Swapped averaged(average_, latent_);
      P5_OK(write_model(folder_->model(), latent_, request_.config));
      if (config_.train.keep_checkpoints > 1) {
        P5_OK(write_model(folder_->earlier_model(position_.step), latent_, request_.config));
        P5_OK(folder_->prune_earlier_models(config_.train.keep_checkpoints));
      }
    }
    P5_OK(write_tensorboard(folder_->metrics(), folder_->events()));
    checkpoint_step_ = position_.step;
    last_checkpoint_ = Clock::now();
    return {};
  }

  Result<TrainReport> report() {
    TrainReport report;
    report.steps = position_.step;
    report.tokens = position_.tokens;
    report.train_seconds = position_.seconds;
    report.tokens_per_second = position_.seconds > 0 ? static_cast<double>(position_.tokens) / position_.seconds : 0;
    report.final_loss = position_.loss;
    report.precision = precision_.used;
    report.product_rates = precision_.rates ? *precision_.rates : measure_product_rates(config_.model, request_.device);
    report.flops_per_second = meter_.flops_per_second();
    report.page_faults_per_step = meter_.page_faults_per_step();
    report.unmoved = unmoved_;
    {
      const WeightAverage::Swapped averaged(average_, latent_);
      // Packed for real, at little effort: `pack` searches longer, and adds the tokenizer.
      Artifact artifact;
      P5_TRY(artifact.model, latent_.stored(threads()));
      constexpr int kEffort = 1;
      P5_TRY(const EncodedArtifact encoded, encode_artifact(artifact, {kEffort, threads()}));
      report.predicted_bytes = encoded.bytes.size();
      report.predicted_by = "packed at effort 1, without the tokenizer";
    }
    if (validation_) {
      P5_TRY(report.val_bpb, validate(0));
      P5_OK(write_tensorboard(folder_->metrics(), folder_->events()));
    }
    return report;
  }

  const TrainRequest& request_;
  const Config& config_;
  const PrecisionChoice precision_;
  ShardReader shards_;
  std::optional<ShardReader> validation_;
  std::string data_sha256_;
  at::Generator generator_;  // of dropout
  torch::Tensor generator_state_;
  LatentWeights latent_;
  WeightAverage average_;
  Network network_;
  std::unique_ptr<Network> evaluation_network_;
  std::optional<Teacher> teacher_;
  Optimizer optimizer_;
  const double orthogonalization_flops_;  // of one step
  StepMeter meter_;
  std::unique_ptr<Loader> loader_;
  std::optional<std::vector<Moment>> replay_;
  std::optional<RunFolder> folder_;
  std::unique_ptr<RunRecorder> recorder_;
  std::optional<MovementCheck> movement_;
  std::vector<std::string> unmoved_;
  RunPosition position_;  // after the last finished step
  StepPlan plan_;         // of the next step
  Clock::time_point started_ = Clock::now(), last_checkpoint_ = started_;
  double seconds_before_ = 0;               // the clock's reading when this session began
  std::array<double, 8> recent_seconds_{};  // of the last steps alone, without validation and checkpoints
  std::int64_t checkpoint_step_ = -1;
};

Result<TrainReport> train_guarded(const TrainRequest& request) {
  P5_OK(request.config.check());
  const ModelConfig& model = request.config.values().model;
  P5_TRY(auto shards, open_shards(request.data, model));
  std::optional<ShardReader> validation;
  if (!request.validation.empty()) {
    P5_TRY(validation, open_shards(request.validation, model));
    if (validation->manifest().tokenizer_sha256 != shards.manifest().tokenizer_sha256)
      return usage_error("the shards in '" + request.validation + "' were made with another tokenizer than those in '" +
                         request.data + "'");
  }
  const std::string data_sha256 = shards.content_sha256();
  P5_TRY(const PrecisionChoice precision, choose_precision(request));
  P5_TRY(const std::string facts, run_facts(request, precision, shards, validation));
  log_info("training data: " + grouped(static_cast<std::int64_t>(shards.tokens())) + " tokens; model: " +
           grouped(count_parameters(model).total()) + " parameters; " + to_string(describe_runtime()));
  Trainer trainer(request, precision, std::move(shards), std::move(validation), data_sha256);
  P5_OK(trainer.check());
  P5_TRY(auto folder, request.resume ? RunFolder::resume(request.run_folder)
                                     : RunFolder::create(request.run_folder, request.overwrite));
  const RunFolder paths = folder;
  P5_OK(trainer.prepare(std::move(folder)));
  P5_OK(write_file(paths.config(), request.config.to_toml(true), Overwrite::yes));
  P5_OK(write_facts(paths, facts, request.resume));
  P5_OK(copy_tokenizer(request.data, paths));
  return trainer.run();
}

}  // namespace

Result<TrainReport> train(const TrainRequest& request) {
  return guarded([&] { return train_guarded(request); });
}

}  // namespace par5
