// Internal to archive/: the steps of encoding that the size estimate takes too.
#pragma once

#include "archive/artifact.h"
#include "archive/choice.h"
#include "archive/metadata.h"

namespace par5 {

// Tokenizer and self-test as bytes, empty where there are none.
Result<OtherStreams> other_streams(const Artifact& artifact);
// The head's key/values for streams that are stored as `choice` says.
Metadata describe(const Artifact& artifact, const OtherStreams& other, const Choice& choice);

}  // namespace par5
