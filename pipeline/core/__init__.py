"""What every stage uses: records, params, paths, the store of results, one map over pictures, errors."""
