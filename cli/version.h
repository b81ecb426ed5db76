// The version of the program: the only unit that knows the commit, so that a commit does not rebuild everything.
#pragma once

namespace par5 {

extern const char* const kVersion;  // "0.1.0"
extern const char* const kGitHash;  // of the sources, twelve digits; "unknown" outside a checkout

}  // namespace par5
