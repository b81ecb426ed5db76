#include "budgets/records/run_log.h"

#include <algorithm>
#include <cctype>

#include "budgets/foreign/text_encoding.h"
#include "core/text.h"

namespace par5 {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// Position behind "name:" or "name =" in the line, with any blanks; npos where the name does not stand there as a word.
std::size_t behind_name(std::string_view line, std::string_view name, std::size_t from = 0) {
  for (std::size_t at = line.find(name, from); at != std::string_view::npos; at = line.find(name, at + 1)) {
    if (at > 0 && is_word(line[at - 1])) continue;
    std::size_t end = at + name.size();
    while (end < line.size() && line[end] == ' ') ++end;
    if (end >= line.size() || (line[end] != ':' && line[end] != '=')) continue;
    ++end;
    while (end < line.size() && line[end] == ' ') ++end;
    return end;
  }
  return std::string_view::npos;
}

std::optional<PrintedNumber> named_number(std::string_view line, std::string_view name, std::size_t* end = nullptr) {
  const std::size_t at = behind_name(line, name);
  if (at == std::string_view::npos) return std::nullopt;
  std::size_t length = 0;
  const auto number = printed_number(line.substr(at), &length);
  if (number && end) *end = at + length;
  return number;
}

// A duration with its unit: "599124ms", "588138 ms", "479.6s", "9.8m".
std::optional<double> named_seconds(std::string_view line, std::string_view name) {
  std::size_t end = 0;
  const auto number = named_number(line, name, &end);
  if (!number) return std::nullopt;
  while (end < line.size() && line[end] == ' ') ++end;
  const std::string_view unit = line.substr(end);
  if (unit.starts_with("ms")) return number->value * 1e-3;
  if (unit.starts_with("m") && !unit.starts_with("mi") && (unit.size() == 1 || !is_word(unit[1]))) return number->value * 60;
  if (unit.starts_with("min")) return number->value * 60;
  return number->value;
}

std::optional<std::int64_t> named_count(std::string_view line, std::string_view name) {
  const auto number = named_number(line, name);
  if (!number || number->value < 0 || number->value > 9e15) return std::nullopt;
  return static_cast<std::int64_t>(number->value);
}

// "[2026-04-01 12:00:00,123] INFO - " and the like.
std::string_view without_timestamp(std::string_view line) {
  if (line.starts_with("[") || (line.size() > 4 && line[4] == '-' && std::isdigit(static_cast<unsigned char>(line[0])))) {
    std::size_t end = line.starts_with("[") ? line.find(']') + 1 : 0;
    if (end == 0)
      while (end < line.size() && end < 40 && (std::isdigit(static_cast<unsigned char>(line[end])) || std::string_view("-:., TZ+").find(line[end]) != std::string_view::npos)) ++end;
    line.remove_prefix(std::min(end, line.size()));
    for (const char* level : {"INFO", "DEBUG", "WARNING"})
      if (line.starts_with(level) || trim(line).starts_with(level)) line.remove_prefix(line.find(level) + std::string_view(level).size());
    while (!line.empty() && std::string_view(" -:|]").find(line[0]) != std::string_view::npos) line.remove_prefix(1);
  }
  return line;
}

// Source code that a log echoes is no result.
bool is_program_text(std::string_view line) {
  const std::string_view start = trim(line);
  if (start.starts_with("#") || start.starts_with("//")) return true;
  for (const char* mark : {"log0(", "log(", "print(", "f\"", "f'", "{args.", "def ", "return ", ".format("})
    if (line.find(mark) != std::string_view::npos) return true;
  return false;
}

// "step:7800/10000" and "7800/10000" at the start of a line.
void read_step(std::string_view line, LogEvaluation& evaluation) {
  std::string_view rest = line;
  if (const std::size_t at = behind_name(line, "step"); at != std::string_view::npos) rest = line.substr(at);
  std::size_t end = 0;
  const auto step = printed_number(rest, &end);
  if (!step || step->digits != 0 || end >= rest.size() || rest[end] != '/') return;
  const auto last = printed_number(rest.substr(end + 1));
  if (!last || last->digits != 0) return;
  evaluation.step = static_cast<std::int64_t>(step->value);
  evaluation.last_step = static_cast<std::int64_t>(last->value);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// "Serialized model int6+lzma: 15877564 bytes": the first number behind `name` and a colon.
std::optional<double> size_behind(std::string_view line, std::string_view name) {
  const std::size_t at = line.find(name);
  if (at == std::string_view::npos) return std::nullopt;
  const std::size_t colon = line.find(':', at);
  if (colon == std::string_view::npos) return std::nullopt;
  const auto number = printed_number(line.substr(colon + 1));
  if (!number || number->digits > 0) return std::nullopt;
  return number->value;
}

class Reader {
 public:
  Reader(RunLog& log) : log_(log) {}

  void line(std::string_view raw, std::size_t number) {
    number_ = number;
    const std::string_view text = without_timestamp(raw);
    if (is_program_text(text) || text.size() > 4000) return;
    const std::string small = lower(text);
    evaluation(text, small);
    times(small);
    calibration(small);
    sizes(small);
    if (!log_.seed) seed(small);
    LogEvaluation step;
    read_step(text, step);
    started_ = started_ || step.step || behind_name(small, "warmup_step") != std::string::npos;
    if (!started_) setting(text);
  }

  void finish() {
    if (!log_.eval_seconds) log_.eval_seconds = longest_;
  }

 private:
  Place here() const { return {log_.file, number_, {}}; }

  void evaluation(std::string_view text, const std::string& small) {
    LogEvaluation found;
    found.bpb = named_number(small, "val_bpb");
    if (!found.bpb) found.bpb = named_number(small, "bpb");
    if (!found.bpb) return;
    found.loss = named_number(small, "val_loss");
    found.tokens = named_count(small, "eval_tokens");
    found.bytes = named_count(small, "eval_bytes");
    found.seconds = named_seconds(small, "eval_time");
    if (!found.seconds) found.seconds = named_seconds(small, "time");
    read_step(text, found);
    const std::size_t first = std::min(small.find("val_loss"), std::min(small.find("val_bpb"), small.find("bpb")));
    found.label = std::string(trim(text.substr(0, std::min(first, text.size()))));
    found.line = number_;
    if (found.seconds && !found.step && (!longest_ || *found.seconds > longest_->value)) longest_ = {*found.seconds, here()};
    log_.evaluations.push_back(std::move(found));
  }

  void times(const std::string& small) {
    if (const auto seconds = named_seconds(small, "train_time")) {
      // The stop line is the word of the clock that ended training; later lines do not replace it.
      const bool stop = small.find("stopping_early") != std::string::npos || small.find("wallclock_cap") != std::string::npos;
      if (stop || !stopped_) log_.train_seconds = {*seconds, here()};
      stopped_ = stopped_ || stop;
    }
    for (const char* name : {"total_eval_time", "total_evaluation_time", "eval_total_time"})
      if (const auto seconds = named_seconds(small, name)) log_.eval_seconds = {*seconds, here()};
    for (const char* name : {"process_seconds", "process_time", "wall_seconds", "total_wallclock", "total_process_time"})
      if (const auto seconds = named_seconds(small, name)) log_.process_seconds = {*seconds, here()};
  }

  // "GPTQ:collected 67 Hessians in 12.3s", "gptq:collecting hessians from autoregressive data"
  void calibration(const std::string& small) {
    if (!stopped_ || (small.find("hessian") == std::string::npos && small.find("calibrat") == std::string::npos)) return;
    if (small.find("diagnostic") != std::string::npos) return;
    if (!log_.calibration) log_.calibration = LogCalibration{std::nullopt, false, here()};
    for (const char* word : {"autoregressive", "self-gen", "generated"})
      if (small.find(word) != std::string::npos) log_.calibration->generated = true;
    if (const std::size_t at = small.find(" in "); at != std::string::npos) {
      std::size_t end = 0;
      const auto number = printed_number(std::string_view(small).substr(at + 4), &end);
      const std::string_view unit = number ? trim(std::string_view(small).substr(at + 4 + end)) : std::string_view();
      if (unit.starts_with("s")) log_.calibration->seconds = log_.calibration->seconds.value_or(0) + number->value;
      else if (unit.starts_with("ms")) log_.calibration->seconds = log_.calibration->seconds.value_or(0) + number->value * 1e-3;
      log_.calibration->place = here();
    }
  }

  void sizes(const std::string& small) {
    const auto keep_total = [&](double bytes) {
      log_.total_bytes = {bytes, here()};
      log_.all_totals.push_back({bytes, here()});
    };
    if (const auto total = size_behind(small, "total submission size")) keep_total(*total);
    if (const auto total = named_number(small, "total_bytes"); total && total->digits == 0) keep_total(total->value);
    if (const std::size_t at = behind_name(small, "budget"); at != std::string::npos) {  // "budget:15714938/16000000"
      std::size_t end = 0;
      const auto total = printed_number(std::string_view(small).substr(at), &end);
      if (total && total->digits == 0 && at + end < small.size() && small[at + end] == '/') keep_total(total->value);
    }
    if (const auto code = size_behind(small, "code size")) log_.code_bytes = {*code, here()};
    else if (const auto code_named = named_count(small, "code"); code_named && small.find("artifact") != std::string::npos)
      log_.code_bytes = {static_cast<double>(*code_named), here()};
    if (small.find("serialized model ") != std::string::npos)
      if (const auto model = size_behind(small, "serialized model ")) log_.model_bytes = {*model, here()};
  }

  void seed(const std::string& small) {
    const std::size_t at = behind_name(small, "seed");
    if (at == std::string::npos) return;
    std::size_t end = at;
    while (end < small.size() && std::isdigit(static_cast<unsigned char>(small[end]))) ++end;
    if (end > at && end - at <= 12) log_.seed = {small.substr(at, end - at), here()};
  }

  // "name: value" and "name=value" pairs of the settings that are printed before training.
  void setting(std::string_view text) {
    const std::string_view line = trim(text);
    if (line.size() > 400) return;
    constexpr std::size_t kMostSettings = 400;
    for (std::size_t i = 0; i < line.size() && log_.config.size() < kMostSettings;) {
      if (!std::isalpha(static_cast<unsigned char>(line[i])) && line[i] != '_') {
        ++i;
        continue;
      }
      const std::size_t start = i;
      while (i < line.size() && is_word(line[i])) ++i;
      const std::string name(line.substr(start, i - start));
      if (i >= line.size() || (line[i] != ':' && line[i] != '=')) continue;
      ++i;
      if (i < line.size() && line[i] == ' ') ++i;
      const std::size_t value = i;
      while (i < line.size() && line[i] != ' ' && line[i] != ',') ++i;
      if (i > value) log_.config.emplace(name, std::string(line.substr(value, i - value)));
    }
  }

  RunLog& log_;
  std::size_t number_ = 0;
  bool started_ = false, stopped_ = false;
  std::optional<Located<double>> longest_;  // single timer of an evaluation
};

// "train_seed1337.log" -> "1337"
std::string seed_of_name(const std::string& name) {
  const std::string small = lower(name.substr(name.rfind('/') + 1));
  std::size_t at = small.find("seed");
  if (at != std::string::npos) at += 4;
  else if (const std::size_t log = small.find("log"); log != std::string::npos) at = log + 3;
  else return {};
  while (at < small.size() && (small[at] == '_' || small[at] == '-')) ++at;
  std::size_t end = at;
  while (end < small.size() && std::isdigit(static_cast<unsigned char>(small[end]))) ++end;
  return end - at <= 12 ? small.substr(at, end - at) : "";
}

}  // namespace

const LogEvaluation* RunLog::final_evaluation() const { return evaluations.empty() ? nullptr : &evaluations.back(); }

RunLog read_run_log(std::string_view bytes, const std::string& file) {
  RunLog log;
  log.file = file;
  if (std::string seed = seed_of_name(file); !seed.empty()) log.seed = {std::move(seed), {file, 0, "name"}};
  const std::string text = to_utf8(bytes);
  Reader reader(log);
  for (std::size_t start = 0; start < text.size();) {
    std::size_t end = text.find_first_of("\n\r", start);
    if (end == std::string::npos) end = text.size();
    reader.line(std::string_view(text).substr(start, end - start), ++log.lines);
    start = end + (text.substr(end, 2) == "\r\n" ? 2 : 1);
  }
  reader.finish();
  return log;
}

bool looks_like_run_log(std::string_view bytes) {
  const std::string text = to_utf8(bytes.substr(0, std::size_t{1} << 24));
  for (const char* mark : {"val_bpb:", "val_bpb =", "val_bpb=", "train_time:", "train_loss:", "val_bpb "})
    if (text.find(mark) != std::string::npos) return true;
  return false;
}

}  // namespace par5
