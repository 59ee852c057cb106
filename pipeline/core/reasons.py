"""What the reason codes of data/rejected mean, in words, for the report."""

REASONS = {
    # the files
    "empty_file": "the file has zero bytes",
    "listed_without_file": "a list names a file that is not there",
    "in_a_subfolder": "a file in a folder inside the pictures' or the masks' one, where the layout has none",
    "link_loop": "a link leads back into the folder",
    "mask_without_image": "a mask whose picture is not there",
    "no_mask": "a picture without a mask",
    "not_an_image": "the file is no picture",
    "not_listed": "a picture that no list names, so that its side is unknown",
    "outside_folder": "a list points out of its folder",
    "rows_disagree": "rows of a table that tell different licences or authors of one file",
    "too_large": "more pixels than allowed (ingest.max_pixels)",
    "too_small": "fewer pixels than needed (ingest.min_side)",
    "truncated": "the file ends early or is damaged",
    "two_images": "two files for one picture",
    "two_masks": "two masks for one picture",
    "unreadable": "the file cannot be opened",
    "unsupported": "a kind of file that is not read",
    "unsupported_pixels": "pixels of a kind that cannot be used",
    # fetching
    "asks_to_wait": "a site that asks for a longer pause than crawl.fetch.max_wait",
    "bad_answer": "an answer that is not HTTP",
    "encoded": "an answer packed in a way that was not asked for",
    "host_failed": "not asked for, since its host failed again and again",
    "http_status": "the site answers with another status than 200",
    "listed_twice": "the same file or address in another line of the same table",
    "no_address": "no address of a picture on the web",
    "opted_out": "its X-Robots-Tag says that it must not be used so",
    "private_address": "a host that is not on the public internet (crawl.fetch.allow_private)",
    "redirects": "redirects in a circle, too many, or to no address",
    "robots": "the site's robots.txt does not allow it",
    "robots_unreachable": "the site's robots.txt cannot be had, so that nothing of it may be fetched",
    "too_many_bytes": "more bytes than allowed (crawl.fetch.max_bytes)",
    "too_slow": "not done in time (crawl.fetch.max_seconds)",
    "unreachable": "the site cannot be reached",
    # the masks
    "empty_mask": "the mask holds nobody, or almost nobody",
    "full_mask": "almost all of the mask is person (ingest.max_foreground)",
    "mask_size": "picture and mask differ in size",
    "not_a_mask": "the mask has more than person and background",
    # what people asked for
    "taken_down": "a person asked to have it taken out (annotations/takedowns)",
    # the same picture again
    "duplicate_pixels": "the same pixels as another picture, which stays",
    "leak_with_test": "the same photograph as one of the test side",
    "leak_with_dev": "looks like pictures of the dev and of the train side",
    "kept_sides_meet": "has a kept side, and is now found alike a picture kept on another one, which stays",
    "labelled_left": "a photograph of the crawl whose labelled copy has left",
    # faces
    "face_not_on_mask": "the face found is not the person of the mask",
    "face_probability": "the detector is not sure of the face (crop.faces.min_probability)",
    "face_too_small": "the face is too small for a portrait (crop.faces.min_height)",
    "mask_coverage": "the person covers too little or too much of the crop",
    "no_face": "no face was found",
    "several_people": "another person's face is in the crop",
    # reviews
    "flagged": "an unreviewed mask with a quality flag",
    "left_out": "a picture that does not train (merge.leave_out)",
    "licence": "its licence, or that it is unknown, is not among those allowed (licences.allow)",
    "not_on_train": "an unreviewed mask of a photograph on the dev or test side",
    "not_reviewed": "a pseudo label that nobody has judged yet",
    "orphaned": "a review whose picture is gone",
    "review_reject": "a review that rejects its mask",
    "review_rejected": "a pseudo label that a review rejects",
    "review_undecided": "a pseudo label on which people disagree, or whose answers are unclear",
    "review_unsure": "a pseudo label, or its review, with the verdict unsure",
    "reviewed": "a pseudo label whose reviewed mask takes its place",
    "too_uncertain": "an unreviewed mask too doubtful to use (merge.max_uncertainty)",
}


def meaning(reason: str) -> str:
    """A few words for a reason code; a code without an entry is its own words."""
    return REASONS.get(reason, reason.replace("_", " "))
