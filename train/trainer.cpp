#include "train/trainer.h"

#include <ATen/Context.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "core/hash.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/text.h"
#include "model/latent.h"
#include "model/network.h"
#include "model/runtime.h"
#include "train/checkpoint.h"
#include "train/loader.h"
#include "train/optimizer.h"
#include "train/run_folder.h"
#include "train/schedule.h"
#include "train/size_estimate.h"
#include "train/validation.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

torch::ScalarType scalar_type(Precision precision) {
  return precision == Precision::bfloat16 ? torch::kBFloat16 : torch::kFloat32;
}

// Shards whose vocabulary is the model's.
Result<ShardReader> open_shards(const std::string& folder, const ModelConfig& model) {
  P5_TRY(auto shards, ShardReader::open(folder));
  const auto vocabulary = static_cast<std::int64_t>(shards.manifest().token_bytes.vocab());
  if (vocabulary != model.vocab)
    return usage_error("the shards in '" + folder + "' have a vocabulary of " + std::to_string(vocabulary) +
                           ", the model one of " + std::to_string(model.vocab) + "; use --set model.vocab=" + std::to_string(vocabulary),
                       "model.vocab");
  return shards;
}

// Settings that a run keeps for life; the rest may change when it is resumed.
std::map<std::string, std::string> run_identity(const LoadedConfig& config, const std::string& data_sha256) {
  std::map<std::string, std::string> identity = {{"data_sha256", data_sha256}};
  for (const ConfigKey& key : config_keys())
    if (key.name.starts_with("model.") || key.name.starts_with("quantizer.")) identity[key.name] = config.value(key.name);
  for (const char* key : {"data.order", "train.seed", "train.sequence", "optimizer.kind"}) identity[key] = config.value(key);
  return identity;
}

class Trainer {
 public:
  Trainer(const TrainRequest& request, ShardReader shards, std::optional<ShardReader> validation, std::string data_sha256)
      : request_(request),
        config_(request.config.values()),
        shards_(std::move(shards)),
        validation_(std::move(validation)),
        data_sha256_(std::move(data_sha256)),
        generator_(at::globalContext().defaultGenerator(request.device)),
        latent_(config_.model, config_.quantizer,
                {config_.train.init_std, config_.train.embedding_init_std, static_cast<std::uint64_t>(config_.train.seed)},
                request.device),
        network_(config_.model, request.device, scalar_type(config_.train.precision)),
        optimizer_(tensor_specs(config_.model), config_.optimizer, scalar_type(config_.train.precision), request.device) {
    generator_.set_current_seed(static_cast<std::uint64_t>(config_.train.seed));
    generator_state_ = generator_.get_state();
    network_.require_gradients(true, true);
  }

  // What can be refused before anything is written.
  Status check() {
    P5_TRY(auto loader, Loader::create(shards_, config_.data.order, config_.train.sequence,
                                       static_cast<std::uint64_t>(config_.train.seed)));
    loader_ = std::make_unique<Loader>(std::move(loader));
    P5_OK(network_.check_length(config_.train.sequence));
    return validation_ ? network_.check_length(validation_window()) : Status{};
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
      log_info("resumed at step " + grouped(position_.step) + " after " + duration(position_.seconds) + " of training");
    }
    P5_TRY(auto metrics, MetricsLog::open(folder_->metrics(), position_.step));
    metrics_ = std::make_unique<MetricsLog>(std::move(metrics));
    return refresh();
  }

  Result<TrainReport> run() {
    P5_OK(discarded_warmup());
    started_ = Clock::now();
    last_checkpoint_ = started_;
    seconds_before_ = position_.seconds;
    first_step_ = position_.step;
    interval_start_ = position_.seconds;
    Progress progress("training", 0, "tokens");
    while (!finished()) {
      P5_TRY(const bool done, step());
      if (!done) return interrupt();
      if (position_.step % config_.train.log_every == 0 || finished()) P5_OK(log_metrics());
      show_progress(progress);
      if (validation_due()) {
        const auto score = validate(static_cast<std::uint64_t>(config_.train.validate_tokens));
        if (!score && score.error().code == ErrorCode::interrupted) return interrupt();
        if (!score) return tl::unexpected(score.error());
      }
      if (checkpoint_due()) P5_OK(checkpoint());
    }
    Progress::clear_line();
    position_.seconds = elapsed();
    P5_OK(checkpoint());
    return report();
  }

 private:
  using Clock = std::chrono::steady_clock;

  double elapsed() const { return seconds_before_ + std::chrono::duration<double>(Clock::now() - started_).count(); }

  bool finished() const {
    const TrainConfig& train = config_.train;
    if (train.steps > 0 && position_.step >= train.steps) return true;
    if (train.max_seconds <= 0) return false;
    const auto steps = static_cast<double>(position_.step - first_step_);
    const double mean = steps > 0 ? (elapsed() - seconds_before_) / steps : 0;
    return elapsed() + mean > train.max_seconds;
  }

  // Everything that state.bin holds as tensors; they share memory with what they name.
  std::vector<NamedTensor> state_tensors() {
    std::vector<NamedTensor> tensors;
    for (const LatentWeight& weight : latent_.weights()) tensors.push_back({"latent." + weight.spec.name, weight.value});
    for (NamedTensor& entry : optimizer_.state()) tensors.push_back(std::move(entry));
    tensors.push_back({"generator", generator_state_});
    return tensors;
  }

  Error diverged(const std::string& what) const {
    const std::string kept = checkpoint_step_ >= 0 ? "the checkpoint of step " + grouped(checkpoint_step_) + " is kept in '" + folder_->path() + "'"
                                                   : "no checkpoint had been written yet";
    return {ErrorCode::check_failed,
            what + " in step " + grouped(position_.step + 1) + "; " + kept + "; lower the learning rates or lengthen the warm-up",
            {}, {}, {}};
  }

  Status refresh() {
    if (Status status = latent_.refresh(network_); !status)
      return tl::unexpected<Error>(diverged("a weight left the finite numbers (" + status.error().message + ")"));
    return {};
  }

  tl::unexpected<Error> interrupt() {
    if (Status status = checkpoint(); !status) return tl::unexpected(status.error());
    log_info("interrupted: the checkpoint of step " + grouped(position_.step) + " is written; --resume continues");
    return interrupted();
  }

  // Forward and backward over one batch into the latent gradients: the mean cross-entropy, or nothing if a stop was
  // asked for meanwhile.
  Result<std::optional<double>> accumulate_gradients() {
    const TrainConfig& train = config_.train;
    const std::int64_t micro_batches = train.batch_tokens / train.micro_batch_tokens;
    latent_.clear_gradients();
    network_.set_training(true);
    double loss = 0;
    for (std::int64_t i = 0; i < micro_batches; ++i) {
      if (request_.stop && request_.stop()) return std::nullopt;
      const Batch batch = loader_->next(train.micro_batch_tokens / train.sequence);
      const Network::Loss parts = network_.loss(batch.inputs.to(request_.device), batch.targets.to(request_.device), train.z_loss);
      loss += parts.cross_entropy.item<double>() / static_cast<double>(micro_batches);
      if (!std::isfinite(loss)) return tl::unexpected<Error>(diverged("the loss is not a finite number"));
      parts.total.backward();
      latent_.collect_gradients(network_, 1.0 / static_cast<double>(micro_batches));
    }
    // A guess without any knowledge costs ln(vocabulary); far above that nothing is learned any more.
    if (loss > 3.0 * std::log(static_cast<double>(config_.model.vocab)) + 3.0)
      return tl::unexpected<Error>(diverged("the loss diverged to " + fixed(loss, 3) + " nats"));
    return loss;
  }

  void update(double factor, double momentum) {
    std::vector<torch::Tensor> values, gradients;
    for (const LatentWeight& weight : latent_.weights()) {
      values.push_back(weight.value);
      gradients.push_back(weight.gradient);
    }
    optimizer_.step(values, gradients, factor, momentum);
  }

  // One optimiser step. False: a stop was asked for, and everything is as before the step.
  Result<bool> step() {
    const double factor = learning_rate_factor(config_.train, position_.step, elapsed());
    const double momentum = muon_momentum(config_.optimizer, position_.step);
    P5_TRY(const std::optional<double> loss, accumulate_gradients());
    if (!loss) {
      loader_->seek(position_.loader);
      return false;
    }
    update(factor, momentum);
    P5_OK(refresh());
    ++position_.step;
    position_.tokens += config_.train.batch_tokens;
    position_.loader = loader_->position();
    position_.optimizer_steps = optimizer_.steps();
    position_.seconds = elapsed();
    generator_state_.copy_(generator_.get_state());
    interval_losses_.push_back(*loss);
    interval_factors_.push_back(factor);
    momentum_ = momentum;
    return true;
  }

  // Steps that warm caches and allocators up before the clock starts; their effect is undone.
  Status discarded_warmup() {
    if (config_.train.discarded_warmup_steps == 0 || position_.step > 0) return {};
    std::vector<torch::Tensor> saved;
    for (const NamedTensor& entry : state_tensors()) saved.push_back(entry.tensor.clone());
    for (std::int64_t i = 0; i < config_.train.discarded_warmup_steps; ++i) {
      P5_TRY(const std::optional<double> loss, accumulate_gradients());
      if (!loss) return interrupted();
      update(1.0, muon_momentum(config_.optimizer, 0));
      P5_OK(refresh());
    }
    const std::vector<NamedTensor> tensors = state_tensors();
    for (std::size_t i = 0; i < saved.size(); ++i) torch::Tensor(tensors[i].tensor).copy_(saved[i]);
    generator_.set_state(generator_state_);
    optimizer_.set_steps(0);
    loader_->seek(position_.loader);
    return refresh();
  }

  Status log_metrics() {
    if (interval_losses_.empty()) return {};
    double sum = 0;
    for (const double loss : interval_losses_) sum += loss;
    position_.loss = sum / static_cast<double>(interval_losses_.size());
    const double interval = position_.seconds - interval_start_;
    rate_ = static_cast<double>(config_.train.batch_tokens) * static_cast<double>(interval_losses_.size()) / std::max(interval, 1e-9);
    P5_TRY(const StoredModel stored, stored_model(latent_, config_.model, static_cast<std::size_t>(at::get_num_threads())));
    size_ = estimate_size(stored);
    const double factor = interval_factors_.back();
    Json line = {{"step", position_.step}, {"tokens", position_.tokens}, {"loss", position_.loss}};
    line["lr"] = main_rate() * factor;
    line["momentum"] = momentum_;
    line["tokens_per_second"] = rate_;
    line["seconds"] = position_.seconds;
    line["progress"] = run_progress(config_.train, position_.step, position_.seconds);
    line["zero_share"] = size_.zero_share;
    line["order0_bytes"] = size_.bytes;
    // The realised schedule: the factor on the learning rates in every step since the line before.
    line["lr_factors"] = interval_factors_;
    interval_losses_.clear();
    interval_factors_.clear();
    interval_start_ = position_.seconds;
    return metrics_->append(line.dump());
  }

  double main_rate() const { return optimizer_.groups().front().learning_rate; }

  void show_progress(Progress& progress) {
    const double part = run_progress(config_.train, position_.step, position_.seconds);
    const double left = part > 0 ? position_.seconds * (1 - part) / part : 0;
    const double loss = interval_losses_.empty() ? position_.loss : interval_losses_.back();
    const double factor = interval_factors_.empty() ? learning_rate_factor(config_.train, position_.step, position_.seconds)
                                                    : interval_factors_.back();
    const std::string detail = "step " + grouped(position_.step) + "  loss " + fixed(loss, 4) + "  " + duration(left) + " left  lr " +
                               fixed(main_rate() * factor, 5) + "  zeros " + fixed(100 * size_.zero_share, 1) + " %  about " +
                               grouped(static_cast<std::int64_t>(size_.bytes)) + " bytes";
    progress.update(static_cast<std::uint64_t>(position_.tokens), detail);
    // Where no line can be redrawn (a log file), a line for every tenth of the run.
    if (const int tenth = static_cast<int>(part * 10); tenth > last_tenth_) {
      last_tenth_ = tenth;
      log_info(std::to_string(tenth * 10) + " %: " + detail + (rate_ > 0 ? "  " + grouped(static_cast<std::int64_t>(rate_)) + " tokens/s" : ""));
    }
  }

  std::int64_t validation_window() const {
    return config_.eval.window > 0 ? config_.eval.window : config_.model.context;
  }

  bool validation_due() const {
    return validation_ && config_.train.validate_every > 0 && position_.step % config_.train.validate_every == 0 && !finished();
  }

  // Chunked bits per byte in eval's precision; also a line in metrics.jsonl.
  Result<double> validate(std::uint64_t max_targets) {
    Network* network = &network_;
    const torch::ScalarType type = scalar_type(config_.eval.precision);
    if (type != network_.compute_type()) {
      if (!evaluation_network_) evaluation_network_ = std::make_unique<Network>(config_.model, request_.device, type);
      network = evaluation_network_.get();
      P5_OK(latent_.refresh(*network));
    }
    network->set_training(false);
    P5_TRY(const ChunkedScore score,
           score_chunked(*network, *validation_, {validation_window(), config_.eval.batch_tokens, max_targets, request_.stop}));
    Json line = {{"step", position_.step}, {"val_bpb", score.bits_per_byte()}, {"val_targets", score.targets}, {"val_bytes", score.bytes}};
    log_info("step " + grouped(position_.step) + ": validation " + fixed(score.bits_per_byte(), 5) + " bits per byte on " +
             grouped(static_cast<std::int64_t>(score.targets)) + " targets");
    P5_OK(metrics_->append(line.dump()));
    return score.bits_per_byte();
  }

  bool checkpoint_due() const {
    return config_.train.checkpoint_seconds > 0 &&
           std::chrono::duration<double>(Clock::now() - last_checkpoint_).count() >= config_.train.checkpoint_seconds;
  }

  // The state first: it stands alone, so a run that ends between the two files continues from it.
  Status checkpoint() {
    P5_OK(log_metrics());
    P5_OK(write_state(folder_->state(), position_, run_identity(request_.config, data_sha256_), state_tensors()));
    P5_OK(write_model(folder_->model(), latent_, request_.config));
    if (config_.train.keep_checkpoints > 1) {
      P5_OK(write_model(folder_->earlier_model(position_.step), latent_, request_.config));
      P5_OK(folder_->prune_earlier_models(config_.train.keep_checkpoints));
    }
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
    P5_TRY(const StoredModel stored, stored_model(latent_, config_.model, static_cast<std::size_t>(at::get_num_threads())));
    report.predicted_bytes = estimate_size(stored).bytes;
    report.predicted_by = "order-0 entropy of codes, scales and float bytes, without tokenizer and metadata";
    if (validation_) {
      P5_TRY(report.val_bpb, validate(0));
    }
    return report;
  }

  const TrainRequest& request_;
  const Config& config_;
  ShardReader shards_;
  std::optional<ShardReader> validation_;
  std::string data_sha256_;
  at::Generator generator_;  // of dropout
  torch::Tensor generator_state_;
  LatentWeights latent_;
  Network network_;
  std::unique_ptr<Network> evaluation_network_;
  Optimizer optimizer_;
  std::unique_ptr<Loader> loader_;
  std::optional<RunFolder> folder_;
  std::unique_ptr<MetricsLog> metrics_;
  RunPosition position_;  // after the last finished step
  Clock::time_point started_ = Clock::now(), last_checkpoint_ = started_;
  double seconds_before_ = 0;  // the clock's reading when this session began
  std::int64_t first_step_ = 0;
  std::int64_t checkpoint_step_ = -1;
  std::vector<double> interval_losses_, interval_factors_;  // of the steps since the last line of metrics
  double interval_start_ = 0;
  double momentum_ = 0, rate_ = 0;
  SizeEstimate size_;
  int last_tenth_ = 0;
};

// Facts about a run that the configuration does not hold.
Result<Json> run_facts(const TrainRequest& request, const ShardReader& shards, const std::string& data_sha256,
                       const std::optional<ShardReader>& validation) {
  P5_TRY(const std::string program_sha256, sha256_hex_of_file("/proc/self/exe"));
  const RuntimeDescription runtime = describe_runtime();
  Json facts = {{"schema", 1}, {"version", request.version}, {"program_sha256", program_sha256}};
  facts["libtorch"] = runtime.libtorch_version;
  facts["cpu_capability"] = runtime.cpu_capability;
  facts["device"] = request.device.str();
  facts["threads"] = runtime.threads;
  facts["seed"] = request.config.values().train.seed;
  const auto describe = [](const std::string& folder, const ShardReader& reader, const std::string& sha256) {
    return Json{{"folder", folder}, {"tokens", reader.tokens()}, {"documents", reader.manifest().documents},
                {"bytes", reader.manifest().bytes}, {"sha256", sha256}};
  };
  facts["data"] = describe(request.data, shards, data_sha256);
  facts["validation"] = validation ? describe(request.validation, *validation, validation->content_sha256()) : Json(nullptr);
  facts["tokenizer_sha256"] = shards.manifest().tokenizer_sha256;
  return facts;
}

Status write_facts(const RunFolder& folder, Json facts, bool resume) {
  Json sessions = Json::array();
  if (resume && file_exists(folder.facts())) {
    P5_TRY(const std::string text, read_text_file(folder.facts()));
    const Json earlier = Json::parse(text, nullptr, false);
    if (earlier.is_object()) {
      if (earlier.contains("earlier_sessions")) sessions = earlier["earlier_sessions"];
      Json last = earlier;
      last.erase("earlier_sessions");
      sessions.push_back(std::move(last));
    }
  }
  facts["earlier_sessions"] = std::move(sessions);
  return write_file(folder.facts(), facts.dump(2) + "\n", Overwrite::yes);
}

// Evaluation of the run wants the tokenizer; shard folders carry it where they know it.
Status copy_tokenizer(const std::string& data, const RunFolder& folder) {
  const std::string source = join_path(data, "tokenizer.model");
  if (!file_exists(source)) return {};
  P5_TRY(const auto bytes, read_file(source));
  return write_file(folder.tokenizer(), bytes, Overwrite::yes);
}

Result<TrainReport> train_guarded(const TrainRequest& request) {
  P5_OK(request.config.check());
  const ModelConfig& model = request.config.values().model;
  P5_TRY(auto shards, open_shards(request.data, model));
  std::optional<ShardReader> validation;
  if (!request.validation.empty()) {
    P5_TRY(validation, open_shards(request.validation, model));
    if (validation->manifest().tokenizer_sha256 != shards.manifest().tokenizer_sha256)
      return usage_error("the shards in '" + request.validation + "' were made with another tokenizer than those in '" + request.data + "'");
  }
  const std::string data_sha256 = shards.content_sha256();
  P5_TRY(Json facts, run_facts(request, shards, data_sha256, validation));
  log_info("training data: " + grouped(static_cast<std::int64_t>(shards.tokens())) + " tokens; model: " +
           grouped(count_parameters(model).total()) + " parameters; " + to_string(describe_runtime()));
  Trainer trainer(request, std::move(shards), std::move(validation), data_sha256);
  P5_OK(trainer.check());
  P5_TRY(auto folder, request.resume ? RunFolder::resume(request.run_folder)
                                     : RunFolder::create(request.run_folder, request.overwrite));
  const RunFolder paths = folder;
  P5_OK(trainer.prepare(std::move(folder)));
  P5_OK(write_file(paths.config(), request.config.to_toml(true), Overwrite::yes));
  P5_OK(write_facts(paths, std::move(facts), request.resume));
  P5_OK(copy_tokenizer(request.data, paths));
  return trainer.run();
}

}  // namespace

Result<TrainReport> train(const TrainRequest& request) {
  return guarded([&] { return train_guarded(request); });
}

}  // namespace par5
