// S1 to S3: what is shipped, and whether it counts as the rules say.
#include <algorithm>

#include "budgets/checks.h"
#include "core/text.h"

namespace par5 {

std::string bytes_text(std::uint64_t bytes) { return grouped(static_cast<std::int64_t>(bytes)) + " bytes"; }

Finding check_artifact_decodes(const AuditSubject& subject) {
  if (subject.artifacts.empty()) {
    if (subject.own) return fails("the run has no packed artifact (model.par5)");
    return does_not_apply("no artifact lies in the folder, as is usual in record folders; sizes are the logs' word");
  }
  Finding finding = passes("");
  for (const AuditedArtifact& artifact : subject.artifacts) {
    finding.places.push_back({artifact.file, 0, {}});
    if (!finding.evidence.empty()) finding.evidence += "; ";
    if (artifact.report) {
      finding.evidence +=
          artifact.file + ": " + std::to_string(artifact.report->tensors.size()) + " tensors, all checksums hold";
    } else if (artifact.archive && artifact.archive->dangerous.empty()) {
      finding.evidence += artifact.file + ": " + artifact.archive->format + ", " +
                          std::to_string(artifact.archive->streams.size()) +
                          " streams, listed without running its pickle";
      if (!artifact.archive->unread.empty() && finding.answer == Answer::pass) finding.answer = Answer::unknown;
      if (!artifact.archive->unread.empty()) finding.evidence += "; not read: " + artifact.archive->unread.front();
    } else if (artifact.archive) {
      finding.answer = Answer::fail;
      finding.evidence +=
          artifact.file + ": its pickle would run code when loaded: " + join(artifact.archive->dangerous, ", ");
    } else {
      finding.answer = Answer::fail;
      finding.evidence += artifact.error;
    }
  }
  return finding;
}

Finding check_size_explained(const AuditSubject& subject) {
  if (subject.artifacts.empty()) return does_not_apply("no artifact");
  Finding finding = passes("");
  for (const AuditedArtifact& artifact : subject.artifacts) {
    if (!finding.evidence.empty()) finding.evidence += "; ";
    if (!artifact.report) {
      finding.answer = Answer::unknown;
      finding.evidence += artifact.file + ": only .par5 files name every byte";
      continue;
    }
    std::uint64_t sum = 0;
    for (const ArtifactSection& section : artifact.report->sections) sum += section.bytes;
    if (sum != artifact.bytes) finding.answer = Answer::fail;
    finding.evidence += std::to_string(artifact.report->sections.size()) + " sections sum to " + bytes_text(sum) +
                        " of " + bytes_text(artifact.bytes);
    finding.places.push_back({artifact.file, 0, {}});
  }
  return finding;
}

Finding check_cap(const AuditSubject& subject) {
  const SizeLedger& sizes = subject.sizes;
  const RuleSet& rules = *subject.rules;
  if (sizes.seeds.empty()) return unknown("neither an artifact nor a log says how large the model is");
  const SeedTotal& worst = sizes.seeds.front();
  std::string evidence = bytes_text(sizes.total_bytes);
  if (sizes.seeds.size() > 1)
    evidence = "worst of " + std::to_string(sizes.seeds.size()) + " (" +
               (worst.seed.empty() ? worst.where : "seed " + worst.seed) + "): " + evidence;
  const bool fits = sizes.total_bytes <= rules.cap_bytes;
  evidence += fits ? " of " : ", over the cap of ";
  evidence += grouped(static_cast<std::int64_t>(rules.cap_bytes)) + (fits ? ", " : " by ");
  evidence += grouped(fits ? sizes.margin_bytes() : -sizes.margin_bytes()) + (fits ? " to spare" : "");
  const CountingWay* other = nullptr;
  for (const CountingWay& way : sizes.ways)
    if (rules.count_code && (way.total_bytes <= rules.cap_bytes) != fits) other = &way;
  if (other)
    evidence += "; with code counted " + other->name + " it would be " + bytes_text(other->total_bytes) + ", " +
                (fits ? "over" : "within") + " the cap";
  if (!sizes.artifact_known) evidence += "; the artifact is not here, its size is the log's word";
  Finding finding = fits ? passes(evidence) : fails(evidence);
  finding.places.push_back({worst.where, 0, {}});
  if (rules.count_code && sizes.ways.empty()) {
    if (fits) finding.answer = Answer::unknown;
    finding.evidence += "; code counts and is not known (" +
                        (subject.own_code_missing.empty() ? "name it with --code FILE…" : subject.own_code_missing) +
                        ")";
  }
  return finding;
}

Finding check_code(const AuditSubject& subject) {
  if (!subject.rules->count_code) return does_not_apply("these rules do not count code");
  if (!subject.request.code.empty())
    return passes(std::to_string(subject.request.code.size()) +
                  " code files were named and are in the total; nothing else was looked for");
  if (subject.own) {
    if (!subject.own_code) return unknown(subject.own_code_missing);
    return passes("all " + std::to_string(subject.own_code->files.size()) +
                  " sources that evaluation needs are in the total; an artifact of par5 holds no code");
  }
  if (subject.kind == AuditSubject::Kind::artifact) return unknown("code counts and none was named (--code FILE…)");
  const ScriptClosure& closure = subject.closure;
  if (closure.entry.empty()) return fails("there is no entry script");
  Finding finding = passes(closure.entry + " imports and executes nothing beside it");
  if (!closure.opened.layers.empty()) finding.evidence += "; opened: " + closure.opened.layers.front().how;
  finding.places.push_back({closure.entry, 0, {}});
  if (!closure.helpers.empty()) {
    finding = fails("code outside " + closure.entry + ":");
    for (const HelperFile& helper : closure.helpers) {
      const FolderFile* file = subject.folder.find(helper.name);
      finding.evidence += " " + helper.name + " (" + helper.why + ", " + bytes_text(file ? file->bytes : 0) + ")";
      finding.places.push_back(helper.place);
    }
    finding.evidence += subject.rules->count_helpers ? "; counted here" : "";
  } else if (!closure.unclear.empty()) {
    finding = unknown("what cannot be followed may bring more code: " + closure.unclear.front().value);
    for (const auto& place : closure.unclear) finding.places.push_back(place.place);
  }
  return finding;
}

Finding check_tokenizer(const AuditSubject& subject) {
  const SizeLedger& sizes = subject.sizes;
  const bool counts = subject.request.count_tokenizer.value_or(subject.rules->count_tokenizer);
  const bool known = sizes.tokenizer_bytes > 0;
  std::string evidence = known ? "tokenizer " + bytes_text(sizes.tokenizer_bytes) + "; total without it " +
                                     bytes_text(sizes.total_without_tokenizer) + ", with it " +
                                     bytes_text(sizes.total_with_tokenizer)
                               : std::string("no tokenizer lies in the artifact or beside it");
  if (!counts) return passes(evidence + "; these rules do not count it");
  if (!known) return unknown("the tokenizer counts, is not in the artifact and was not named (--tokenizer FILE)");
  return sizes.total_with_tokenizer <= subject.rules->cap_bytes ? passes(evidence + "; counted")
                                                                : fails(evidence + ", over the cap");
}

}  // namespace par5
