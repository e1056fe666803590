'use strict';

/*
 * Runs one method of the unmodified wwebjs-aws-s3.
 *
 *   node s3_store.js '{"endpoint": "http://…", "bucket": "…", "prefix": "…", "call": "save", "session": "…", "path": "…"}'
 *
 * `save` reads `<session>.zip` from the working directory. Standard output carries what the method returned, as JSON.
 */

const { AwsS3Store } = require('wwebjs-aws-s3');
const {
  S3Client,
  PutObjectCommand,
  HeadObjectCommand,
  GetObjectCommand,
  DeleteObjectCommand,
} = require('@aws-sdk/client-s3');

const { endpoint, bucket, prefix, call, session, path } = JSON.parse(process.argv[2]);

const store = new AwsS3Store({
  bucketName: bucket,
  remoteDataPath: prefix,
  s3Client: new S3Client({
    endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  }),
  putObjectCommand: PutObjectCommand,
  headObjectCommand: HeadObjectCommand,
  getObjectCommand: GetObjectCommand,
  deleteObjectCommand: DeleteObjectCommand,
});

store[call]({ session, path }).then((value) => process.stdout.write(JSON.stringify(value ?? null)));
