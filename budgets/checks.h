// The checks behind the rules: each looks at the audit's subject and says what it found. Which rules apply and which
// are required is decided by audit.cpp.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "budgets/subject.h"

namespace par5 {

struct Finding {
  Answer answer = Answer::unknown;
  std::string evidence;
  std::vector<Place> places;
};

inline Finding passes(std::string evidence, std::vector<Place> places = {}) {
  return {Answer::pass, std::move(evidence), std::move(places)};
}
inline Finding fails(std::string evidence, std::vector<Place> places = {}) {
  return {Answer::fail, std::move(evidence), std::move(places)};
}
inline Finding unknown(std::string evidence, std::vector<Place> places = {}) {
  return {Answer::unknown, std::move(evidence), std::move(places)};
}
inline Finding does_not_apply(std::string evidence) { return {Answer::not_applicable, std::move(evidence), {}}; }

// checks_size.cpp
Finding check_artifact_decodes(const AuditSubject& subject);
Finding check_size_explained(const AuditSubject& subject);
Finding check_cap(const AuditSubject& subject);        // S1
Finding check_code(const AuditSubject& subject);       // S2
Finding check_tokenizer(const AuditSubject& subject);  // S3
// checks_time.cpp
Finding check_train_time(const AuditSubject& subject);   // T1
Finding check_calibration(const AuditSubject& subject);  // T2
Finding check_eval_time(const AuditSubject& subject);    // E1
Finding check_isolation(const AuditSubject& subject);    // S5
// checks_text.cpp
Finding check_validation_set(const AuditSubject& subject);  // E3
Finding check_overlap(const AuditSubject& subject);         // V1
Finding check_denominator(const AuditSubject& subject);     // K1
// checks_scoring.cpp
Finding check_causal(const AuditSubject& subject);               // C1
Finding check_normalised(const AuditSubject& subject);           // C2
Finding check_score_before_update(const AuditSubject& subject);  // C3
Finding check_test_time_training(const AuditSubject& subject);   // V2
Finding check_single_pass(const AuditSubject& subject);          // C4
// checks_claim.cpp
Finding check_significance(const AuditSubject& subject);  // P1
Finding check_runs(const AuditSubject& subject);          // P2
Finding check_best_seed(const AuditSubject& subject);     // P3
// checks_folder.cpp
Finding check_packages(const AuditSubject& subject);    // S4
Finding check_one_folder(const AuditSubject& subject);  // F1
Finding check_files(const AuditSubject& subject);       // F2
Finding check_declared(const AuditSubject& subject);    // F3
Finding check_track(const AuditSubject& subject);       // F4

// The folder of shards that a run names as its "data" or "validation", wherever it lies now; empty: not found.
std::string run_shards(const AuditSubject& subject, const OwnRun& run, const char* which);

// "15,724,839 bytes"
std::string bytes_text(std::uint64_t bytes);

}  // namespace par5
