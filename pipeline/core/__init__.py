"""What stages share: records, params, paths, the store of results, one map over pictures, errors."""
