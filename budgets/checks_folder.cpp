// S4 and F1 to F4: what a submission folder must hold and say.
#include <algorithm>
#include <cctype>

#include "budgets/checks.h"
#include "core/file.h"
#include "core/text.h"

namespace par5 {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool has_kind(const AuditSubject& subject, const std::string& kind) {
  if (kind == "submission") return subject.folder.submission.has_value();
  if (kind == "log") return !subject.folder.logs.empty();
  // par5's own program is its source closure; an artifact of its own needs no script.
  if (kind == "script" && subject.own) return subject.own_code.has_value();
  if (kind == "script") return !subject.folder.entry_script.empty();
  if (kind == "artifact") return !subject.artifacts.empty();
  return std::any_of(subject.folder.files.begin(), subject.folder.files.end(),
                     [&](const FolderFile& file) { return file.kind == kind && file.bytes > 0; });
}

// Where a folder declares what it needs: requirements, README, setup scripts.
std::string declarations(const AuditSubject& subject) {
  std::string text = subject.folder.requirements + "\n" + subject.folder.readme;
  for (const FolderFile& file : subject.folder.files)
    if (file.name.ends_with(".sh") || file.name == "Dockerfile" || file.name == "pyproject.toml")
      text += "\n" + subject.folder.read_text(file.name).value_or("");
  return lower(text);
}

// Names under which a package is installed, where they are not those under which it is imported.
std::string installed_name(const std::string& package) {
  static const std::vector<std::pair<std::string, std::string>> names = {
      {"flash_attn_interface", "flash"}, {"flash_attn", "flash"}, {"cv2", "opencv"},
      {"sklearn", "scikit-learn"},       {"yaml", "pyyaml"},      {"PIL", "pillow"},
      {"zstandard", "zstandard"},        {"google", "protobuf"}};
  for (const auto& [imported, installed] : names)
    if (imported == package) return installed;
  return package;
}

bool declared(const std::string& text, const std::string& package) {
  std::string name = lower(installed_name(package));
  if (text.find(name) != std::string::npos) return true;
  std::replace(name.begin(), name.end(), '_', '-');
  return text.find(name) != std::string::npos;
}

}  // namespace

Finding check_packages(const AuditSubject& subject) {
  if (subject.own)
    return {Answer::manual,
            "par5 links libraries only (SentencePiece, LibTorch, liblzma, zstd, brotli, Highway); what they hold is "
            "for a person to judge",
            {}};
  std::string evidence;
  std::vector<Place> places;
  for (const auto& package : subject.closure.packages) {
    evidence += (evidence.empty() ? "imports " : ", ") + package.value;
    places.push_back(package.place);
  }
  for (std::size_t i = 0; i < subject.closure.programs.size(); ++i) {
    evidence += (i == 0 ? (evidence.empty() ? "starts " : "; starts ") : ", ") + subject.closure.programs[i].value;
    places.push_back(subject.closure.programs[i].place);
  }
  return {Answer::manual, evidence.empty() ? "imports nothing outside the standard library" : evidence, places};
}

Finding check_one_folder(const AuditSubject& subject) {
  std::vector<Place> places;
  for (const FolderFile& file : subject.folder.files)
    if (file.kind == "submission") places.push_back({file.name, 0, {}});
  if (places.empty()) return fails("there is no submission.json");
  if (places.size() > 1) return fails(std::to_string(places.size()) + " submissions in one folder", places);
  const bool top = places[0].file.find('/') == std::string::npos;
  return top ? passes("one folder with one submission; what else a pull request adds cannot be seen from the folder",
                      places)
             : fails("the submission is not in the folder itself", places);
}

Finding check_files(const AuditSubject& subject) {
  std::vector<std::string> missing, problems;
  for (const std::string& kind : subject.rules->required_files)
    if (!has_kind(subject, kind)) missing.push_back(kind);
  const RecordFolder& folder = subject.folder;
  std::vector<Place> places;
  if (!folder.submission_error.empty()) {
    problems.push_back(folder.submission_error);
    places.push_back({folder.submission_file, 0, {}});
  }
  if (folder.submission) {
    const SubmissionJson& submission = *folder.submission;
    places.push_back({submission.file, 0, {}});
    if (!submission.strict)
      problems.push_back(submission.file + " is no JSON as it stands (comments, trailing commas or Python's words)");
    if (!submission.bpb) problems.push_back(submission.file + " gives no numeric val_bpb");
    if (submission.bpb && (submission.bpb->value.value <= 0.2 || submission.bpb->value.value > 8))
      problems.push_back("val_bpb " + shortest(submission.bpb->value.value) +
                         " is out of any plausible range (a slipped decimal?)");
    if (!submission.name) problems.push_back(submission.file + " gives no name");
    if (!submission.github_id && !submission.author)
      problems.push_back(submission.file + " gives neither author nor github_id");
    if (!submission.total_bytes && std::none_of(submission.seeds.begin(), submission.seeds.end(),
                                                [](const SeedResult& seed) { return seed.total_bytes.has_value(); }))
      problems.push_back(submission.file + " gives no size");
  }
  for (const auto& opaque : subject.closure.unclear)
    if (opaque.value.find("is not there") != std::string::npos) {
      problems.push_back(opaque.value);
      places.push_back(opaque.place);
    }
  if (!missing.empty()) problems.insert(problems.begin(), "missing: " + join(missing, ", "));
  if (!problems.empty()) return fails(join(problems, "; "), places);
  return passes("all there: " + join(subject.rules->required_files, ", "), places);
}

Finding check_declared(const AuditSubject& subject) {
  if (subject.own)
    return passes("par5's packages are declared in its own tools/packages.txt; the artifact needs no others");
  const std::string text = declarations(subject);
  std::vector<std::string> undeclared;
  std::vector<Place> places;
  for (const auto& package : subject.closure.packages) {
    const auto& base = subject.rules->base_packages;
    if (std::find(base.begin(), base.end(), package.value) != base.end() || declared(text, package.value)) continue;
    undeclared.push_back("package " + package.value);
    places.push_back(package.place);
  }
  for (const auto& program : subject.closure.programs) {
    const std::string name = file_name(program.value);
    static const std::vector<std::string> common = {"nvidia-smi", "git", "bash", "sh", "echo",
                                                    "ls",         "gcc", "cc",   "g++"};
    if (std::find(common.begin(), common.end(), name) != common.end() || text.find(lower(name)) != std::string::npos)
      continue;
    undeclared.push_back("program " + name);
    places.push_back(program.place);
  }
  if (!undeclared.empty())
    return fails("used and declared nowhere (requirements.txt, README, setup scripts): " + join(undeclared, ", "),
                 places);
  return passes(std::to_string(subject.closure.packages.size()) + " packages and " +
                std::to_string(subject.closure.programs.size()) + " programs, all declared or common");
}

Finding check_track(const AuditSubject& subject) {
  std::string said;
  if (subject.folder.submission && subject.folder.submission->track) said = subject.folder.submission->track->value;
  const std::string text = lower(said + " " + subject.folder.readme + " " + subject.folder.path);
  for (const char* word : {"unlimited", "non-record", "non_record", "nonrecord"})
    if (text.find(word) != std::string::npos)
      return passes(std::string("says '") + word + "'", {{subject.folder.submission_file, 0, "track"}});
  return fails(
      "neither submission.json, README nor the folder's name says that this is the unlimited (non-record) track");
}

}  // namespace par5
