#include "train/run_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "core/text.h"

namespace par5 {
namespace {

constexpr std::string_view kEarlierPrefix = "model-", kWeightsSuffix = ".safetensors";

bool is_earlier_model(const std::string& name) {
  if (!name.starts_with(kEarlierPrefix) || !name.ends_with(kWeightsSuffix)) return false;
  const auto digits = std::string_view(name).substr(
      kEarlierPrefix.size(), name.size() - std::min(name.size(), kEarlierPrefix.size() + kWeightsSuffix.size()));
  return !digits.empty() && digits.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

Result<RunFolder> RunFolder::create(const std::string& path, Overwrite overwrite) {
  P5_OK(make_folders(path));
  const RunFolder folder(path);
  P5_TRY(const auto names, list_folder(path));
  if (names.empty()) return folder;
  if (overwrite == Overwrite::no)
    return usage_error("the run folder '" + path +
                       "' exists already; --resume continues that run, --force starts anew");
  for (const std::string& file : {folder.config(), folder.facts(), folder.metrics(), folder.model(), folder.state(),
                                  folder.tokenizer(), folder.events(), folder.best_model()})
    if (file_exists(file)) P5_OK(remove_file(file));
  P5_OK(folder.prune_earlier_models(0));
  return folder;
}

Result<RunFolder> RunFolder::resume(const std::string& path) {
  const RunFolder folder(path);
  if (!file_exists(folder.state()))
    return usage_error("there is no checkpoint to resume in '" + path + "' (no state.bin); run without --resume");
  return folder;
}

std::string RunFolder::earlier_model(std::int64_t step) const {
  // Zero-padded, so that names sort by step.
  char name[64];
  std::snprintf(name, sizeof name, "model-%010lld.safetensors", static_cast<long long>(step));
  return join_path(path_, name);
}

Status RunFolder::prune_earlier_models(std::int64_t count) const {
  P5_TRY(auto names, list_folder(path_));
  std::erase_if(names, [](const std::string& name) { return !is_earlier_model(name); });
  for (std::size_t i = 0; i + static_cast<std::size_t>(count) < names.size(); ++i)
    P5_OK(remove_file(join_path(path_, names[i])));
  return {};
}

Result<MetricsLog> MetricsLog::open(const std::string& path, std::int64_t last_step) {
  if (file_exists(path)) {
    P5_TRY(const std::string text, read_text_file(path));
    std::string kept;
    for (const std::string& line : split(text, '\n')) {
      const auto entry = nlohmann::json::parse(line, nullptr, false);
      if (entry.is_object() && entry.contains("step") && entry["step"].is_number_integer() &&
          entry["step"].get<std::int64_t>() <= last_step)
        kept += line + "\n";
    }
    if (kept != text) P5_OK(write_file(path, kept, Overwrite::yes));
  }
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) return io_failure("cannot open '" + path + "'", path, errno);
  return MetricsLog(path, descriptor);
}

MetricsLog::MetricsLog(MetricsLog&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

MetricsLog::~MetricsLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status MetricsLog::append(std::string line) {
  line += '\n';
  for (std::string_view rest = line; !rest.empty();) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_failure("cannot write '" + path_ + "'", path_, errno);
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace par5
