"""Moving trees of files to and from Cloud Storage. Not public; `vertexkit.storage` is.

``local_tree`` and ``object_names`` say what there is to move and where it goes, ``upload`` and ``download``
decide what has to be moved and check what has arrived, an engine (``obstore_engine``, ``google_engine``)
moves many small objects at once, and ``resumable`` moves a large file so that it can be interrupted.
"""
