#include "train/run_recorder.h"

#include <algorithm>
#include <utility>

#include "core/log.h"
#include "core/text.h"
#include "train/step_meter.h"
#include "train/tensorboard.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// Calls visit(line) for every JSON object of a metrics.jsonl.
template <class Visit>
Status for_each_line(const std::string& path, Visit&& visit) {
  P5_TRY(const std::string text, read_text_file(path));
  for (const std::string& line : split(text, '\n'))
    if (const Json entry = Json::parse(line, nullptr, false); entry.is_object()) visit(entry);
  return {};
}

std::vector<double> numbers(const Json& line, const char* key) {
  std::vector<double> values;
  if (const auto found = line.find(key); found != line.end() && found->is_array())
    for (const Json& value : *found)
      if (value.is_number()) values.push_back(value.get<double>());
  return values;
}

}  // namespace

RunRecorder::RunRecorder(const Config& config, MetricsLog metrics, const RunPosition& start, double rate,
                         std::uint64_t cap_bytes)
    : config_(config),
      metrics_(std::move(metrics)),
      rate_(rate),
      cap_bytes_(cap_bytes),
      progress_("training", 0, "tokens"),
      start_seconds_(start.seconds),
      start_faults_(minor_faults()) {}

void RunRecorder::add_step(const StepPlan& plan, double loss) {
  losses_.push_back(loss);
  factors_.push_back(plan.moment.rate_factor);
  progresses_.push_back(plan.moment.progress);
  tokens_ += plan.batch_tokens;
  momentum_ = plan.momentum;
  shown_factor_ = plan.moment.rate_factor;
}

Status RunRecorder::write_steps(RunPosition& position, const StoredModel& stored) {
  if (losses_.empty()) return {};
  position.loss = mean(losses_);
  tokens_per_second_ = static_cast<double>(tokens_) / std::max(position.seconds - start_seconds_, 1e-9);
  P5_TRY(size_, estimate_size(stored));
  const LevelReport levels = levels_.report(stored);
  const long faults = minor_faults();
  Json line = {{"tokens", position.tokens}, {"loss", position.loss}};
  line["lr"] = rate_ * factors_.back();
  line["momentum"] = momentum_;
  line["tokens_per_second"] = tokens_per_second_;
  line["seconds"] = position.seconds;
  line["zero_share"] = size_.zero_share;
  line["level_shares"] = levels.shares;
  line["churn"] = levels.churn ? Json(*levels.churn) : Json(nullptr);
  line["predicted_bytes"] = size_.bytes;
  line["page_faults_per_step"] = (faults - start_faults_) / static_cast<long>(losses_.size());
  // The realised schedule of every step since the line before: with these two a run is repeated by step.
  line["lr_factors"] = factors_;
  line["progresses"] = progresses_;
  losses_.clear();
  factors_.clear();
  progresses_.clear();
  tokens_ = 0;
  start_seconds_ = position.seconds;
  start_faults_ = faults;
  return write(position.step, std::move(line));
}

Status RunRecorder::write(std::int64_t step, Json line) {
  Json whole = {{"step", step}};
  whole.update(line);
  return metrics_.append(whole.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void RunRecorder::show(const RunPosition& position, double progress) {
  const double left = progress > 0 ? position.seconds * (1 - progress) / progress : 0;
  const double loss = losses_.empty() ? position.loss : losses_.back();
  std::string detail = "step " + grouped(position.step) + "  loss " + fixed(loss, 4) + "  " + duration(left) +
                       " left  lr " + fixed(rate_ * shown_factor_, 5);
  if (size_.bytes > 0) {
    detail +=
        "  zeros " + fixed(100 * size_.zero_share, 1) + " %  about " + grouped(static_cast<std::int64_t>(size_.bytes));
    if (cap_bytes_ > 0) detail += " of " + grouped(static_cast<std::int64_t>(cap_bytes_));
    detail += " bytes";
  }
  progress_.update(static_cast<std::uint64_t>(position.tokens), detail);
  // Where no line can be redrawn (a log file), a line for every tenth of the run.
  if (const int tenth = static_cast<int>(progress * 10); tenth > last_tenth_) {
    last_tenth_ = tenth;
    log_info(
        std::to_string(tenth * 10) + " %: " + detail +
        (tokens_per_second_ > 0 ? "  " + grouped(static_cast<std::int64_t>(tokens_per_second_)) + " tokens/s" : ""));
  }
}

Result<std::vector<Moment>> read_realized_schedule(const std::string& run_folder) {
  const std::string path = join_path(run_folder, "metrics.jsonl");
  std::vector<Moment> moments;
  bool whole = true;
  P5_OK(for_each_line(path, [&](const Json& line) {
    const std::vector<double> factors = numbers(line, "lr_factors"), progresses = numbers(line, "progresses");
    whole = whole && factors.size() == progresses.size();
    for (std::size_t i = 0; whole && i < factors.size(); ++i) moments.push_back({progresses[i], factors[i]});
    if (!factors.empty())
      whole = whole && line.value("step", std::int64_t{-1}) == static_cast<std::int64_t>(moments.size());
  }));
  if (!whole || moments.empty())
    return bad_data("'" + path + "' does not record the schedule of every step, so the run cannot be repeated", path);
  return moments;
}

Status write_tensorboard(const std::string& metrics, const std::string& events) {
  std::string bytes = tensorboard_header(0);
  double seconds = 0;
  P5_OK(for_each_line(metrics, [&](const Json& line) {
    seconds = line.value("seconds", seconds);
    std::vector<std::pair<std::string, double>> scalars;
    for (const auto& [key, value] : line.items()) {
      if (key == "step" || key == "seconds") continue;
      if (value.is_number()) scalars.emplace_back(key, value.get<double>());
    }
    const std::vector<double> shares = numbers(line, "level_shares");
    for (std::size_t i = 0; i < shares.size(); ++i)
      scalars.emplace_back("level_shares/" + std::to_string(static_cast<int>(i) - static_cast<int>(shares.size() / 2)),
                           shares[i]);
    if (!scalars.empty()) bytes += tensorboard_record(seconds, line.value("step", std::int64_t{0}), scalars);
  }));
  return write_file(events, bytes, Overwrite::yes);
}

}  // namespace par5
